//! The grammar of Java `.properties` files, with line numbers (reference: configuration 1).
//!
//! `zoo.cfg` is such a file: a plain split at `=` would misread continuations, escapes, and the `:`
//! and blank separators that real files use. The bytes are ISO-8859-1; any byte is a character, so
//! no input is refused except a broken `\uXXXX`.

use std::collections::HashMap;

/// One setting as written. Key and value are unescaped and trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    /// Line of the file where the setting starts, from 1.
    pub line: u32,
}

/// The only mistake the grammar knows: `\u` without four hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertiesError {
    pub line: u32,
    pub text: &'static str,
}

/// A parsed file: settings in file order, and by key, where the last one wins.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    entries: Vec<Entry>,
    by_key: HashMap<String, usize>,
}

impl Properties {
    /// Parses a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Properties, PropertiesError> {
        let mut entries = Vec::new();
        for (line, text) in logical_lines(bytes) {
            let (key, value) = split(&text);
            entries.push(Entry {
                key: java_trim(&unescape(key, line)?).to_owned(),
                value: java_trim(&unescape(value, line)?).to_owned(),
                line,
            });
        }
        Ok(Properties::from_entries(entries))
    }

    /// Settings that do not come from a file (arguments, defaults of the embedded server).
    pub fn from_entries(entries: Vec<Entry>) -> Properties {
        let by_key = entries.iter().enumerate().map(|(at, e)| (e.key.clone(), at)).collect();
        Properties { entries, by_key }
    }

    /// The setting in force for `key`.
    pub fn find(&self, key: &str) -> Option<&Entry> {
        self.by_key.get(key).map(|&at| &self.entries[at])
    }

    /// The settings in force, in file order; overwritten duplicates are left out.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(at, entry)| (self.by_key.get(&entry.key) == Some(&at)).then_some(entry))
    }
}

/// Joins continued lines, drops comments and blank lines. Escapes are still in place.
fn logical_lines(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut lines = Vec::new();
    let mut open: Option<(u32, Vec<u8>)> = None;
    for (number, raw) in (1u32..).zip(natural_lines(bytes)) {
        let blanks = raw.iter().take_while(|b| is_blank(**b)).count();
        let text = &raw[blanks..];
        if open.is_none() && (text.is_empty() || text[0] == b'#' || text[0] == b'!') {
            continue;
        }
        let backslashes = text.iter().rev().take_while(|b| **b == b'\\').count();
        let continued = backslashes % 2 == 1;
        let kept = &text[..text.len() - usize::from(continued)];
        let (_, line) = open.get_or_insert_with(|| (number, Vec::new()));
        line.extend_from_slice(kept);
        if !continued {
            lines.extend(open.take());
        }
    }
    lines.extend(open);
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

/// Splits at LF, CRLF and CR alike.
fn natural_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
            rest = None;
            return Some(text);
        };
        let skip = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&text[end + skip..]);
        Some(&text[..end])
    })
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

/// Key and value of a logical line: the first unescaped `=`, `:` or run of blanks parts them.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    while end < text.len() && !is_blank(text[end]) && !matches!(text[end], b'=' | b':') {
        end += if text[end] == b'\\' { 2 } else { 1 };
    }
    let end = end.min(text.len());
    let mut rest = skip_blanks(&text[end..]);
    if let [b'=' | b':', after @ ..] = rest {
        rest = skip_blanks(after);
    }
    (&text[..end], rest)
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|b| is_blank(**b)).count()..]
}

fn unescape(text: &[u8], line: u32) -> Result<String, PropertiesError> {
    // UTF-16 units, because two \u escapes may form one character.
    let mut units = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        units.push(match bytes.next() {
            None => break,
            Some(b't') => u16::from(b'\t'),
            Some(b'n') => u16::from(b'\n'),
            Some(b'r') => u16::from(b'\r'),
            Some(b'f') => 0x0c,
            Some(b'u') => unicode(&mut bytes)
                .ok_or(PropertiesError { line, text: "Malformed \\uxxxx encoding." })?,
            Some(other) => u16::from(other),
        });
    }
    Ok(String::from_utf16_lossy(&units))
}

fn unicode(bytes: &mut impl Iterator<Item = u8>) -> Option<u16> {
    let mut unit = 0u16;
    for _ in 0..4 {
        let digit = char::from(bytes.next()?).to_digit(16)?;
        unit = unit << 4 | digit as u16;
    }
    Some(unit)
}

/// Java's `trim`: control characters count as blank, other Unicode blanks do not.
fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let parsed = Properties::parse(text.as_bytes()).expect("valid");
        parsed.iter().map(|e| (e.key.clone(), e.value.clone())).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{text:?}");
        all.remove(0)
    }

    #[test]
    fn every_separator_parts_key_and_value() {
        for text in ["a=b", "a:b", "a b", "a\tb", "a = b", "a : b", "  a=b  ", "a=b\r\n", "a=b\r"] {
            assert_eq!(one(text), ("a".into(), "b".into()), "{text:?}");
        }
        assert_eq!(one("a==b"), ("a".into(), "=b".into()));
        assert_eq!(one("server.1=h:1:2;3"), ("server.1".into(), "h:1:2;3".into()));
        assert_eq!(one("lonely"), ("lonely".into(), String::new()));
    }

    #[test]
    fn comments_start_a_logical_line_only() {
        assert_eq!(pairs("# a=1\n ! b=2\n\n \t\nc=3 # no comment\n").len(), 1);
        assert_eq!(one("c=3 # x").1, "3 # x");
        // A comment never continues, a continued line may look like one.
        assert_eq!(pairs("# a \\\nb=1"), [("b".to_owned(), "1".to_owned())]);
        assert_eq!(one("a=1,\\\n  #2").1, "1,#2");
    }

    #[test]
    fn an_odd_number_of_backslashes_continues() {
        assert_eq!(one("a=1,\\\n   2,\\\r\n\t3").1, "1,2,3");
        assert_eq!(pairs("a=1\\\\\nb=2").len(), 2);
        assert_eq!(one("a=1\\\\\\\n2").1, "1\\2");
        assert_eq!(one("a=1\\").1, "1");
        assert_eq!(pairs("a=1\\\n\nb=2").len(), 2);
    }

    #[test]
    fn escapes() {
        assert_eq!(one("d=C:\\zk\\data").1, "C:zkdata");
        assert_eq!(one("k\\=x\\:y\\ z=v").0, "k=x:y z");
        assert_eq!(one("k=a\\tb\\\\c").1, "a\tb\\c");
        assert_eq!(one("k=\\u0041\\ud83d\\ude00").1, "A\u{1f600}");
        let error = Properties::parse(b"\n\nk=\\u12g4").expect_err("bad escape");
        assert_eq!(error.line, 3);
    }

    #[test]
    fn bytes_are_latin_1() {
        let parsed = Properties::parse(b"k=\xe9").expect("valid");
        assert_eq!(parsed.find("k").expect("k").value, "é");
    }

    #[test]
    fn the_last_duplicate_wins_and_lines_are_kept() {
        let parsed = Properties::parse(b"# c\na=1\nb=2,\\\n 3\na=4\n").expect("valid");
        let found = parsed.find("a").expect("a");
        assert_eq!((found.value.as_str(), found.line), ("4", 5));
        assert_eq!(parsed.find("b").expect("b").line, 3);
        assert_eq!(parsed.iter().count(), 2);
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut prng = Prng::new(11);
        let alphabet = b"ab=: \t\\\n\r#!u0041\xff";
        for _ in 0..5000 {
            let len = prng.below(40) as usize;
            let text: Vec<u8> =
                (0..len).map(|_| alphabet[prng.below(alphabet.len() as u64) as usize]).collect();
            let _ = Properties::parse(&text);
        }
    }
}
