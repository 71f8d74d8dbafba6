//! The colours of the style sheet, measured (WCAG 2.2: 1.4.3 text, 1.4.11 what is not text).

use std::collections::HashMap;

const STYLE: &str = include_str!("../../assets/portal.css");

/// Name, light and dark value of every colour token.
fn tokens() -> HashMap<&'static str, [&'static str; 2]> {
    STYLE
        .lines()
        .filter_map(|line| {
            let (name, value) = line.trim().strip_prefix("--")?.split_once(": light-dark(")?;
            let (light, dark) = value.strip_suffix(");")?.split_once(", ")?;
            Some((name, [light, dark]))
        })
        .collect()
}

/// Relative luminance of `#rrggbb`: 0 is black, 1 is white.
fn luminance(colour: &str) -> f64 {
    let channel = |from: usize| {
        let value = f64::from(u8::from_str_radix(&colour[from..from + 2], 16).unwrap()) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

/// The contrast of two colours: 1 to 21.
fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// Foreground, background, least contrast: every pair that the style sheet lets meet.
const PAIRS: &[(&str, &[&str], f64)] = &[
    (
        "text",
        &["bg", "surface", "sunken", "accent-soft", "ok-soft", "warn-soft", "danger-soft", "info-soft"],
        4.5,
    ),
    ("muted", &["bg", "surface", "sunken", "info-soft", "ok-soft"], 4.5),
    ("accent", &["bg", "surface", "accent-soft"], 4.5),
    ("accent-hover", &["bg", "surface", "sunken"], 4.5),
    ("on-accent", &["accent", "accent-hover"], 4.5),
    ("on-danger", &["danger"], 4.5),
    ("ok", &["bg", "surface", "ok-soft"], 4.5),
    ("warn", &["surface", "warn-soft"], 4.5),
    ("danger", &["bg", "surface", "danger-soft"], 4.5),
    ("info", &["surface", "info-soft"], 4.5),
    ("border-strong", &["bg", "surface"], 3.0),
];

#[test]
fn every_pair_can_be_read_in_both_themes() {
    let tokens = tokens();
    for (foreground, backgrounds, least) in PAIRS {
        for background in *backgrounds {
            for (theme, name) in ["light", "dark"].iter().enumerate() {
                let ratio = contrast(tokens[foreground][theme], tokens[background][theme]);
                assert!(
                    ratio >= *least,
                    "{foreground} on {background}, {name}: {ratio:.2} is less than {least}"
                );
            }
        }
    }
}

#[test]
fn the_measure_is_that_of_the_standard() {
    assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
    assert!((contrast("#777777", "#ffffff") - 4.48).abs() < 0.005);
    // From the table of the design.
    let tokens = tokens();
    assert!((contrast(tokens["muted"][0], tokens["sunken"][0]) - 5.62).abs() < 0.005);
    assert!((contrast(tokens["border-strong"][1], tokens["surface"][1]) - 4.07).abs() < 0.005);
}

#[test]
fn colours_stand_in_the_tokens_only() {
    let rules = STYLE.split_once("\n}\n").unwrap().1;
    // Behind a dialog lies the same shade in both themes.
    let rules = rules.replace("#0b142099", "");
    assert!(!rules.contains('#'), "a colour that no test measures");
}
