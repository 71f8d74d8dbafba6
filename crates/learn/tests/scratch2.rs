#[path = "imaging/made.rs"]
#[allow(unused)]
mod made;
use habeas_learn::imaging::*;
use image::ImageFormat;
#[test]
fn fuzz() {
    let Ok(secs) = std::env::var("SECS") else { return };
    let mut state: u64 = std::env::var("SEED").unwrap().parse().unwrap();
    let mut rnd = move || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; state };
    let p = made::two_halves(70, 45);
    let g = image::DynamicImage::ImageLuma8(p.to_luma8());
    let tiny = image::load_from_memory(made::HEMLOCK).unwrap().thumbnail(90, 60);
    let hem = made::encode(&tiny, ImageFormat::Jpeg);
    let at = made::HEMLOCK.windows(6).position(|w| w == b"Exif\0\0").unwrap();
    let exif = &made::HEMLOCK[at + 6..at + 6 + 1400];
    let mut seeds = vec![made::with_exif(&hem, exif), hem, made::encode(&g, ImageFormat::Jpeg)];
    for s in [&[0x22u8, 0x11, 0x11][..], &[0x21, 0x11, 0x11], &[0x12, 0x11, 0x11], &[0x11], &[0x11; 4], &[0x22, 0x21, 0x21], &[0x44,0x11,0x11],&[0x22],&[0x41,0x11,0x11],&[0x11,0x22,0x11]] {
        seeds.push(made::progressive_jpeg(70, 45, s));
    }
    // the same as baseline headers, with varied samplings over real data
    for s in [0x11u8, 0x21, 0x12, 0x22, 0x41, 0x14, 0x44, 0x31] {
        for which in 0..3 { let mut b = seeds[1].clone(); let f = b.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap(); b[f + 11 + 3 * which] = s; seeds.push(b); }
    }
    for f in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp] { seeds.push(made::encode(&p, f)); seeds.push(made::encode(&tiny, f)); }
    seeds.push(made::encode(&p.to_rgba8().into(), ImageFormat::Bmp));
    seeds.push(made::encode(&g, ImageFormat::Bmp));
    seeds.push(made::encode(&p.to_rgba16().into(), ImageFormat::Png));
    let limits = Limits { max_side: 600, max_decoded_bytes: 4 << 20, ..Limits::default() };
    let start = std::time::Instant::now();
    let (mut n, mut ok, mut worst) = (0u64, 0u64, std::time::Duration::ZERO);
    let mut panics = std::collections::BTreeMap::<String, u32>::new();
    std::panic::set_hook(Box::new(|i| { eprintln!("PANIC {:?}", i.location().map(|l| l.to_string())); }));
    while start.elapsed().as_secs() < secs.parse().unwrap() {
        let mut b = seeds[rnd() as usize % seeds.len()].clone();
        let reach = if rnd() % 2 == 0 { b.len().min(700) } else { b.len() };
        for _ in 0..1 + rnd() % 6 {
            let at = rnd() as usize % reach.min(b.len());
            match rnd() % 8 { 0 => b[at] = 0, 1 => b[at] = 0xFF, 2 => b[at] = (rnd() % 5) as u8, 3 => { let k = rnd() as usize % b.len(); let v = b[k]; b.insert(at, v) } , 4 if b.len() > 100 => { b.remove(at.min(b.len()-1)); } , 5 => b[at] ^= 1 << (rnd() % 8), _ => b[at] = rnd() as u8 }
        }
        let t = std::time::Instant::now();
        let r = std::panic::catch_unwind(|| derivatives(&b, &limits).is_ok());
        worst = worst.max(t.elapsed());
        n += 1;
        match r { Ok(x) => ok += u64::from(x), Err(e) => { let m = e.downcast_ref::<String>().cloned().or_else(|| e.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default(); *panics.entry(m.chars().filter(|c| !c.is_ascii_digit()).collect()).or_default() += 1; } }
    }
    eprintln!("n={n} ok={ok} worst={worst:?} panics={panics:#?}");
}
