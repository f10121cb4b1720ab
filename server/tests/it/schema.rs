//! The protocol's vectors hold a copy of the game's schema; it must be the game's.

use netcode::channel::Table;

#[test]
fn the_schema_of_the_test_vectors_is_the_games() {
    let vectors = include_str!("../../../netcode/tests/vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let hash = |name: &str| vectors[name]["hash"].as_str().unwrap_or_else(|| panic!("{name} has no hash")).to_owned();
    assert_eq!(hash("schema").trim_start_matches("0x"), format!("{:016x}", sim::SCHEMA.hash()));
    assert_eq!(hash("channel_table").trim_start_matches("0x"), format!("{:016x}", Table::standard().hash()));
}
