//! A client core under a script of segments, turns and broken connections: see the world's own description.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/connection_noise/world.rs"]
mod world;

fuzz_target!(|script: &[u8]| {
    world::World::new().play(script);
    world::World::limited().play(script);
});
