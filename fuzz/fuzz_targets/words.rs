//! Four-letter words: the first bytes of a connection are one or none, and every one is answered, or refused where it
//! is not in the whitelist that the rest of the bytes make.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::admin::four_letter::report::{ConfReport, ServerReport};
use ringkeeper::admin::four_letter::{Request, Whitelist, answer};
use ringkeeper::wire::four_letter::FourLetterWord;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first_chunk::<4>() else { return };
    let Some(word) = FourLetterWord::from_bytes(*first) else { return };
    if word != FourLetterWord::TelnetClose {
        assert_eq!(word.as_str().as_bytes(), first);
    }
    let (mask, list) = match rest.split_first_chunk::<8>() {
        Some((mask, list)) => (Some(i64::from_be_bytes(*mask)), list),
        None => (None, rest),
    };
    let list: Vec<String> = String::from_utf8_lossy(list).split(',').map(str::to_owned).collect();
    let whitelist = Whitelist::new(&list, bytes.len().is_multiple_of(2));
    for serving in [false, true] {
        let report = ServerReport { serving, ..ServerReport::default() };
        let request = Request { word, trace_mask: mask };
        let text = answer(request, &report, &ConfReport::default(), &whitelist);
        let refused = text.ends_with(b" is not executed because it is not in the whitelist.\n");
        assert_eq!(refused, !whitelist.allows(word));
    }
});
