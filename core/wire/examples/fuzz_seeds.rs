//! Writes valid messages of every version as seeds for the fuzz targets:
//! `cargo run -p buslane-wire --example fuzz_seeds -- fuzz/corpus`

#[path = "../tests/generate/mod.rs"]
mod generate;

use std::path::PathBuf;

use buslane_wire::frame::{request_header_version, response_header_version};
use generate::{Rng, all_messages, body};

fn main() -> std::io::Result<()> {
    let corpus = PathBuf::from(std::env::args_os().nth(1).expect("usage: fuzz_seeds CORPUS-FOLDER"));
    let (mut rng, mut count) = (Rng(1), 0);
    for (key, schema, version) in all_messages() {
        let mut seed = [(key as i16).to_be_bytes(), version.to_be_bytes()].concat();
        seed.extend([0, 0, 0, 1]);
        let target = if schema.response {
            seed.extend(vec![0; usize::from(response_header_version(key as i16, version) == 1)]);
            "decode_response"
        } else {
            seed.extend([0xff, 0xff]);
            seed.extend(vec![0; usize::from(request_header_version(key as i16, version) == 2)]);
            "decode_request"
        };
        seed.extend(body(schema, version, &mut rng));
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("{}-{version}", key.name())), seed)?;
        count += 1;
    }
    println!("{count} seeds written below {}", corpus.display());
    Ok(())
}
