//! The protocol's vectors hold a copy of the game's schema; it must be the game's.

use netcode::channel::Table;

#[test]
fn the_schema_of_the_test_vectors_is_the_games() {
    let vectors = include_str!("../../../netcode/tests/vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let hash = |of: &serde_json::Value| of["hash"].as_str().unwrap().trim_start_matches("0x").to_owned();
    assert_eq!(hash(&vectors["schema"]), format!("{:016x}", sim::SCHEMA.hash()));
    let standard = vectors["channel_tables"].as_array().unwrap().iter().find(|table| table["name"] == "standard");
    assert_eq!(hash(standard.unwrap()), format!("{:016x}", Table::standard().hash()));
}
