//! Numbers and dates as Java prints them: tools compare and parse these texts.

use crate::base::WallMs;

/// `Double.toString`: always a fraction, exponents from 10^7 up and below 10^-3.
pub fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
        Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
        None => text,
    }
}

/// An average as the reference shows it: four decimals, halves up.
pub fn average(sum: i64, count: i64) -> String {
    double(average_value(sum, count))
}

/// The number behind [`average`]; 0 without samples.
pub fn average_value(sum: i64, count: i64) -> f64 {
    if count == 0 { 0.0 } else { rounded(sum as f64 / count as f64) }
}

/// Four decimals, halves up.
pub fn rounded(value: f64) -> f64 {
    let scaled = value * 10_000.0;
    if scaled.is_finite() { (scaled + 0.5).floor() / 10_000.0 } else { value }
}

/// `Date.toString` in UTC: `Sat Nov 21 00:35:33 UTC 2026`.
pub fn date(wall_ms: WallMs) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = wall_ms.div_euclid(1000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year:04}",
        DAYS[days.rem_euclid(7) as usize],
        MONTHS[(month - 1) as usize],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Year, month and day of a day number counted from 1970-01-01. Years are taken to begin in March,
/// so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(ERA_DAYS), shifted.rem_euclid(ERA_DAYS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_like_javas() {
        let cases = [
            (0.0, "0.0"),
            (7.3, "7.3"),
            (8.0, "8.0"),
            (-2.5, "-2.5"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (12_345_678.5, "1.23456785E7"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn averages_have_four_decimals() {
        assert_eq!(average(73, 10), "7.3");
        assert_eq!(average(1, 3), "0.3333");
        assert_eq!(average(2, 3), "0.6667");
        assert_eq!(average(1, 0), "0.0");
        assert_eq!(average(1, 20_000), "1.0E-4");
    }

    #[test]
    fn dates() {
        assert_eq!(date(1_795_221_333_000), "Sat Nov 21 00:35:33 UTC 2026");
        assert_eq!(date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(date(-1000), "Wed Dec 31 23:59:59 UTC 1969");
    }
}
