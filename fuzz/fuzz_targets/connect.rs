//! The first frame of a connection: decodes or not, and what decodes comes back from its own encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = ConnectRequest::decode(bytes) {
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(ConnectRequest::decode(&out), Ok(request));
    }
    if let Ok(response) = ConnectResponse::decode(bytes) {
        let mut out = Vec::new();
        response.encode_frame(&mut out);
        assert_eq!(ConnectResponse::decode(&out[4..]), Ok(response));
    }
});
