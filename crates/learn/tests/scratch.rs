#[path = "imaging/made.rs"]
#[allow(unused)]
mod made;
use habeas_learn::imaging::*;
use image::*;
use std::io::Cursor;
fn hwm() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS"))
        .collect()
}
#[test]
fn mem() {
    let Ok(path) = std::env::var("IMG") else { return };
    let bytes = std::fs::read(path).unwrap();
    eprintln!("before {} file {}", hwm(), bytes.len());
    let t = std::time::Instant::now();
    let r = derivatives(&bytes, &Limits::default());
    eprintln!(
        "after {} {:?} {:?}",
        hwm(),
        t.elapsed(),
        r.map(|d| (d.inspected.width, d.inspected.height, d.resized.len(), d.thumbnail.len()))
    );
}
#[test]
fn make() {
    let Ok(dir) = std::env::var("DIR") else { return };
    let w = |name: &str, i: DynamicImage, f| {
        let mut c = Cursor::new(Vec::new());
        i.write_to(&mut c, f).unwrap();
        std::fs::write(format!("{dir}/{name}"), c.into_inner()).unwrap();
    };
    std::fs::write(format!("{dir}/prog444.jpg"), made::progressive_jpeg(6100, 6100, &[0x11; 3])).unwrap();
    std::fs::write(format!("{dir}/prog420.jpg"), made::progressive_jpeg(7470, 7470, &[0x22, 0x11, 0x11]))
        .unwrap();
    std::fs::write(format!("{dir}/progwide.jpg"), made::progressive_jpeg(10240, 5440, &[0x22, 0x11, 0x11]))
        .unwrap();
    std::fs::write(format!("{dir}/progodd.jpg"), made::progressive_jpeg(10240, 4000, &[0x44, 0x11, 0x11]))
        .unwrap();
    std::fs::write(format!("{dir}/proggray.jpg"), made::progressive_jpeg(10240, 10240, &[0x11])).unwrap();
    std::fs::write(format!("{dir}/progcmyk.jpg"), made::progressive_jpeg(5500, 5500, &[0x11; 4])).unwrap();
    if true {
        w(
            "big.gif",
            ImageBuffer::from_fn(9150, 9150, |x, y| Rgba([(x / 64) as u8, (y / 64) as u8 & 0xf0, 9u8, 255]))
                .into(),
            ImageFormat::Gif,
        );
        return;
    }
    w(
        "rgb.jpg",
        ImageBuffer::from_fn(10240, 10240, |x, y| Rgb([(x / 64) as u8, (y / 64) as u8, 9u8])).into(),
        ImageFormat::Jpeg,
    );
    w(
        "rgb.png",
        ImageBuffer::from_fn(10240, 10240, |x, y| Rgb([(x / 64) as u8, (y / 64) as u8, 9u8])).into(),
        ImageFormat::Png,
    );
    w(
        "rgba.png",
        ImageBuffer::from_fn(9150, 9150, |x, y| Rgba([(x / 64) as u8, (y / 64) as u8, 9u8, 7])).into(),
        ImageFormat::Png,
    );
    w(
        "rgba16.png",
        ImageBuffer::from_fn(6470, 6470, |x, y| Rgba([x as u16, y as u16, 9u16, 700])).into(),
        ImageFormat::Png,
    );
    w(
        "wide.png",
        ImageBuffer::from_fn(10240, 8190, |x, y| Rgba([(x / 64) as u8, (y / 64) as u8, 9u8, 7])).into(),
        ImageFormat::Png,
    );
}
