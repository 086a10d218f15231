//! What looks like a value and is none.

use super::{random::Random, values::grouped};

const HEX: &str = "0123456789abcdef";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Such a thing, and the name of a field that it might stand in.
pub fn negative(random: &mut Random) -> (&'static str, String) {
    match random.below(24) {
        0 => ("order_id", random.digits(10)),
        1 => ("order_number", format!("ORD-{}-{}", random.within(2019, 2026), random.digits(6))),
        2 | 3 => ("id", uuid(random)),
        4 => ("commit", random.signs(HEX, 40)),
        5 => ("short_sha", random.signs(HEX, 7)),
        6 => ("sha256", random.signs(HEX, 64)),
        7 => ("created_at", format!("{}T{}Z", day(random), clock(random))),
        8 => ("timestamp", format!("17{}", random.digits(8))),
        9 => ("ts_ms", format!("17{}", random.digits(11))),
        10 => ("logged", format!("{} {},{:03}", day(random), clock(random), random.below(1000))),
        11 => ("version", format!("{}.{}.{}", random.below(20), random.below(30), random.below(100))),
        12 => ("version", format!("{}.{}.{}.{}", random.within(1, 20), random.below(30), random.below(100), random.below(250))),
        13 => (
            "user_agent",
            format!(
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{}.0.{}.{}",
                random.within(90, 140),
                random.below(255),
                random.below(200)
            ),
        ),
        14 => ("price", format!("{}.{:02}", random.within(1, 9999), random.below(100))),
        15 => ("amount", grouped(&random.digits(9), &[3, 3, 3], random.pick(&[",", ".", " "]))),
        16 => ("ean", ean(random)),
        17 => ("isbn", {
            let digits = ean(random);
            grouped(&digits, &[3, 1, 4, 4, 1], "-")
        }),
        18 => (
            "tracking_number",
            match random.below(4) {
                0 => format!("1Z{}{}", random.signs("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 6), random.digits(10)),
                1 => random.digits(12),
                2 => format!("94{}", random.digits(20)),
                _ => format!("RR{}DE", random.digits(9)),
            },
        ),
        19 => (
            "thumbnail",
            format!("data:image/png;base64,iVBORw0KGgo{}", {
                let many = 4 * random.within(20, 400);
                random.signs(BASE64, many)
            }),
        ),
        20 => ("embedding", (0..random.within(4, 30)).map(|_| format!("-0.0{}", random.digits(9))).collect::<Vec<_>>().join(", ")),
        21 => ("trace", format!("00-{}-{}-01", random.signs(HEX, 32), random.signs(HEX, 16))),
        22 => (
            "path",
            format!("/srv/app/releases/{}{}/lib/std::vec::Vec{}.rs", random.within(2019, 2026), random.digits(10), random.digits(3)),
        ),
        _ => ("tokens", format!("max_tokens: {}, input_tokens={}", random.within(100, 9999), random.within(100, 99999))),
    }
}

fn uuid(random: &mut Random) -> String {
    let uuid = grouped(&random.signs(HEX, 32), &[8, 4, 4, 4, 12], "-");
    if random.once_in(4) { uuid.to_uppercase() } else { uuid }
}

fn day(random: &mut Random) -> String {
    format!("{}-{:02}-{:02}", random.within(2019, 2026), random.within(1, 12), random.within(1, 28))
}

fn clock(random: &mut Random) -> String {
    format!("{:02}:{:02}:{:02}", random.below(24), random.below(60), random.below(60))
}

fn ean(random: &mut Random) -> String {
    let body = format!("978{}", random.digits(9));
    let sum: u32 = body.chars().enumerate().map(|(at, digit)| digit.to_digit(10).unwrap_or(0) * if at % 2 == 0 { 1 } else { 3 }).sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}
