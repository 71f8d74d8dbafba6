//! The streamed JSON of `images/files`.
//!
//! However long the body is, of it only one image and the small members of its entries are in memory: base64 is decoded as it arrives,
//! into one buffer that the images use in turn, and members that nobody asked for are passed over unread.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use habeas_core::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use struson::reader::{
    JsonReader, JsonReaderPosition, JsonStreamReader, JsonSyntaxError, ReaderError, ReaderSettings, ValueType,
};
use struson::serde::DeserializerError;

use super::too_many_images;
use crate::custom_vision::limits::Limits;

/// Bytes in the body of a member name, a text or a region.
const SMALL: usize = 4096;

/// One entry, as it came by.
#[derive(Debug)]
pub(in crate::custom_vision) struct FileEntry<'a> {
    pub(in crate::custom_vision) name: Option<String>,
    pub(in crate::custom_vision) contents: Contents<'a>,
    /// At most one more than an image may have.
    pub(in crate::custom_vision) tag_ids: Vec<String>,
    /// At most one more than an image may have.
    pub(in crate::custom_vision) regions: Vec<RegionEntry>,
}

/// The bytes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::custom_vision) enum Contents<'a> {
    Bytes(&'a [u8]),
    /// There were none, or they were not base64.
    Missing,
    /// More than the limit; they were not kept.
    TooLarge,
}

/// A region in a request. The JavaScript and Python clients always send all members.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::custom_vision) struct RegionEntry {
    #[serde(alias = "TagId")]
    pub(in crate::custom_vision) tag_id: String,
    #[serde(alias = "Left")]
    pub(in crate::custom_vision) left: f64,
    #[serde(alias = "Top")]
    pub(in crate::custom_vision) top: f64,
    #[serde(alias = "Width")]
    pub(in crate::custom_vision) width: f64,
    #[serde(alias = "Height")]
    pub(in crate::custom_vision) height: f64,
}

/// What a batch says of all its images.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::custom_vision) struct Batch {
    /// At most one more than a request may name.
    pub(in crate::custom_vision) tag_ids: Vec<String>,
    /// At most one pair more than an image may have.
    pub(in crate::custom_vision) metadata: Vec<(String, String)>,
}

/// Reads a batch, handing over every image as it comes by. Stops at the first error that `take` gives back. Errors: the body is cut off,
/// is no JSON, or does not have the members of a batch; it has too many images; one of its texts is too long.
pub(in crate::custom_vision) fn files(
    body: impl Read,
    limits: &Limits,
    take: &mut dyn FnMut(FileEntry<'_>) -> Result<()>,
) -> Result<Batch> {
    let meter = Rc::new(Meter::default());
    let settings =
        ReaderSettings { track_path: false, restrict_number_values: false, ..ReaderSettings::default() };
    let json = JsonStreamReader::new_custom(Metered { body, meter: Rc::clone(&meter) }, settings);
    let mut reader = BatchReader { json, meter, limits, image: Vec::new() };
    let batch = reader.batch(take)?;
    let BatchReader { json, meter, .. } = reader;
    json.consume_trailing_whitespace().map_err(|error| wrong(&error, &meter))?;
    Ok(batch)
}

/// What may be read before the parser gives up, and why the body could not be read.
#[derive(Default)]
struct Meter {
    left: Cell<Option<usize>>,
    trouble: Cell<Option<Trouble>>,
}

#[derive(Clone, Copy)]
enum Trouble {
    TooLong,
    CutOff,
}

struct Metered<R> {
    body: R,
    meter: Rc<Meter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.meter.left.get() == Some(0) {
            self.meter.trouble.set(Some(Trouble::TooLong));
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let read = self.body.read(out);
        match &read {
            // The parser reads on only when it has used up what it has: what it misses then is beyond the end.
            Ok(0) | Err(_) => self.meter.trouble.set(Some(Trouble::CutOff)),
            Ok(read) => self.meter.left.set(self.meter.left.get().map(|left| left.saturating_sub(*read))),
        }
        read
    }
}

struct BatchReader<'a, R: Read> {
    json: JsonStreamReader<Metered<R>>,
    meter: Rc<Meter>,
    limits: &'a Limits,
    /// The image that is coming by.
    image: Vec<u8>,
}

/// Where the bytes of the current image are.
enum Found {
    InBuffer,
    Missing,
    TooLarge,
}

impl<R: Read> BatchReader<'_, R> {
    fn batch(&mut self, take: &mut dyn FnMut(FileEntry<'_>) -> Result<()>) -> Result<Batch> {
        let mut batch = Batch::default();
        self.tried(|json| json.begin_object())?;
        while let Some(name) = self.member()? {
            match name.as_str() {
                "images" => self.images(take)?,
                "tagids" => batch.tag_ids = self.list(self.limits.tags_per_request)?,
                "metadata" => batch.metadata = self.metadata()?,
                _ => self.tried(|json| json.skip_value())?,
            }
        }
        Ok(batch)
    }

    fn images(&mut self, take: &mut dyn FnMut(FileEntry<'_>) -> Result<()>) -> Result<()> {
        self.tried(|json| json.begin_array())?;
        let mut count = 0;
        while self.tried(|json| json.has_next())? {
            if count == self.limits.images_per_batch {
                return Err(too_many_images(self.limits));
            }
            count += 1;
            self.entry(take)?;
        }
        self.tried(|json| json.end_array())
    }

    fn entry(&mut self, take: &mut dyn FnMut(FileEntry<'_>) -> Result<()>) -> Result<()> {
        let (mut name, mut found) = (None, Found::Missing);
        let (mut tag_ids, mut regions) = (Vec::new(), Vec::new());
        self.tried(|json| json.begin_object())?;
        while let Some(member) = self.member()? {
            match member.as_str() {
                "name" => name = self.small()?,
                "contents" => found = self.contents()?,
                "tagids" => tag_ids = self.list(self.limits.tags_per_image)?,
                "regions" => regions = self.list(self.limits.regions_per_image)?,
                _ => self.tried(|json| json.skip_value())?,
            }
        }
        let contents = match found {
            Found::InBuffer => Contents::Bytes(&self.image),
            Found::Missing => Contents::Missing,
            Found::TooLarge => Contents::TooLarge,
        };
        take(FileEntry { name, contents, tag_ids, regions })
    }

    fn contents(&mut self) -> Result<Found> {
        if self.is_null()? {
            return Ok(Found::Missing);
        }
        self.image.clear();
        let place = self.json.current_position(false);
        let meter = Rc::clone(&self.meter);
        let failed = |error: &io::Error| wrong_text(error, &place, &meter);
        let mut text = self.json.next_string_reader().map_err(|error| wrong(&error, &self.meter))?;
        let most = self.limits.image_bytes;
        let found = match DecoderReader::new(&mut text, &STANDARD).take(most + 1).read_to_end(&mut self.image)
        {
            Ok(_) if self.image.len() as u64 > most => Found::TooLarge,
            Ok(_) => Found::InBuffer,
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<base64::DecodeError>()) => {
                Found::Missing
            }
            Err(error) => return Err(failed(&error)),
        };
        io::copy(&mut text, &mut io::sink()).map_err(|error| failed(&error))?;
        Ok(found)
    }

    fn metadata(&mut self) -> Result<Vec<(String, String)>> {
        let mut pairs = Vec::new();
        if self.is_null()? {
            return Ok(pairs);
        }
        self.tried(|json| json.begin_object())?;
        while self.tried(|json| json.has_next())? {
            let key = self.metered(|json| json.next_name_owned().map_err(DeserializerError::from))?;
            let value = self.small()?;
            if pairs.len() <= self.limits.metadata_pairs {
                pairs.push((key, value));
            }
        }
        self.tried(|json| json.end_object())?;
        Ok(pairs)
    }

    /// A list of small values, of which one more than `most` is kept: whoever counts them sees that there were too many.
    fn list<T: DeserializeOwned>(&mut self, most: usize) -> Result<Vec<T>> {
        let mut values = Vec::new();
        if self.is_null()? {
            return Ok(values);
        }
        self.tried(|json| json.begin_array())?;
        while self.tried(|json| json.has_next())? {
            let value = self.small()?;
            if values.len() <= most {
                values.push(value);
            }
        }
        self.tried(|json| json.end_array())?;
        Ok(values)
    }

    /// The next member's name in lower case; at the end of the object none, and the object is left.
    fn member(&mut self) -> Result<Option<String>> {
        if self.tried(|json| json.has_next())? {
            let name = self.metered(|json| json.next_name_owned().map_err(DeserializerError::from))?;
            return Ok(Some(name.to_lowercase()));
        }
        self.tried(|json| json.end_object())?;
        Ok(None)
    }

    /// Passes over a `null`.
    fn is_null(&mut self) -> Result<bool> {
        let is_null = self.tried(|json| json.peek())? == ValueType::Null;
        if is_null {
            self.tried(|json| json.next_null())?;
        }
        Ok(is_null)
    }

    fn small<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.metered(|json| json.deserialize_next())
    }

    fn metered<T>(
        &mut self,
        read: impl FnOnce(&mut JsonStreamReader<Metered<R>>) -> Result<T, DeserializerError>,
    ) -> Result<T> {
        self.meter.left.set(Some(SMALL));
        let value = read(&mut self.json).map_err(|error| match error {
            DeserializerError::ReaderError(error) => wrong(&error, &self.meter),
            _ => at(&self.json.current_position(false), NO_BATCH),
        })?;
        self.meter.left.set(None);
        Ok(value)
    }

    fn tried<T>(
        &mut self,
        read: impl FnOnce(&mut JsonStreamReader<Metered<R>>) -> Result<T, ReaderError>,
    ) -> Result<T> {
        read(&mut self.json).map_err(|error| wrong(&error, &self.meter))
    }
}

const NO_BATCH: &str = "the body does not have the members of an image batch";

fn wrong(error: &ReaderError, meter: &Meter) -> Error {
    match error {
        ReaderError::SyntaxError(error) => no_json(&error.location, meter),
        ReaderError::IoError { location, .. } => no_json(location, meter),
        ReaderError::MaxNestingDepthExceeded { location, .. } => at(location, "the body is nested too deep"),
        ReaderError::UnexpectedValueType { location, .. } => at(location, NO_BATCH),
        _ => Error::invalid(NO_BATCH).code("BadRequestImageBatch"),
    }
}

/// An error inside of a text, which began at `place`.
fn wrong_text(error: &io::Error, place: &JsonReaderPosition, meter: &Meter) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<JsonSyntaxError>());
    no_json(inner.map_or(place, |error| &error.location), meter)
}

fn no_json(place: &JsonReaderPosition, meter: &Meter) -> Error {
    match meter.trouble.get() {
        Some(Trouble::CutOff) => at(place, "the body was cut off"),
        Some(Trouble::TooLong) => {
            at(place, &format!("a name, text or region in the body is longer than {SMALL} bytes"))
        }
        None => at(place, "the body is not JSON"),
    }
}

fn at(place: &JsonReaderPosition, what: &str) -> Error {
    let place = match &place.line_pos {
        Some(place) => format!(" (line {}, column {})", place.line + 1, place.column + 1),
        None => String::new(),
    };
    Error::invalid(format!("{what}{place}")).code("BadRequestImageBatch")
}
