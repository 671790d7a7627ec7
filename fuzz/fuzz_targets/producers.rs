//! Any bytes as a checkpoint of a partition's producers: what can be read is written again and read the same.
#![no_main]

use buslane_partition::ProducerTable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(table) = ProducerTable::decode(bytes) {
        let again = ProducerTable::decode(&table.encode()).expect("what we write we read");
        assert_eq!(again, table);
    }
});
