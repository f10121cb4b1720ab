//! What an operator is told about a wrong configuration.

use server::config::{ConfigError, HttpListen, ServerConfig, parse_key};

/// Parses and checks; gives the text that the operator sees.
fn refusal(toml: &str) -> String {
    let config = ServerConfig::from_toml(toml).and_then(|config| config.check().map(|()| config));
    config.expect_err("the configuration should be refused").to_string()
}

#[track_caller]
fn assert_names(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in:\n{text}");
    }
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(ServerConfig::from_toml("").unwrap(), ServerConfig::default());
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
    let text = refusal("[world]\nseed = 3\ntick_rate = 30\n");
    assert_names(&text, &["line 3", "tick_rate = 30", "unknown field `tick_rate`", "`tick_rate_hz`"]);
    assert_names(&refusal("[wordl]\n"), &["unknown field `wordl`", "`world`"]);
}

#[test]
fn a_value_out_of_range_is_named_with_its_key_and_the_range() {
    let text = refusal("[world]\ntick_rate_hz = 500\n");
    assert_names(&text, &["world.tick_rate_hz = 500", "20", "128", "Hz"]);
    assert_names(&refusal("[network]\nworkers = 0\n"), &["network.workers = 0", "1 to 8"]);
}

#[test]
fn a_value_of_the_wrong_type_is_quoted_with_its_line() {
    assert_names(&refusal("[network]\nworkers = \"two\"\n"), &["line 2", "workers = \"two\"", "expected u32"]);
    assert_names(&refusal("[network]\nhttp = \"localhost\"\n"), &["\"localhost\"", "network.http", "IP:PORT"]);
    assert_names(&refusal("[log]\nlevel = \"loud\"\n"), &["`loud`", "`debug`"]);
}

#[test]
fn more_boxes_than_the_map_has_room_for_are_refused_with_the_number_that_fits() {
    let text = refusal("[world]\nhalf_extent_m = 32\nboxes = 17\n");
    assert_names(&text, &["world.boxes = 17", "at most 16", "half_extent_m = 32"]);
    assert!(ServerConfig::from_toml("[world]\nhalf_extent_m = 32\nboxes = 16\n").unwrap().check().is_ok());
}

#[test]
fn gates_and_ramps_share_the_room_with_boxes() {
    let text = refusal("[world]\nhalf_extent_m = 32\nboxes = 10\ngates = 4\nramps = 3\n");
    assert_names(&text, &["world.ramps = 3", "at most 2", "half_extent_m = 32"]);
    assert_names(&refusal("[world]\nhalf_extent_m = 32\nboxes = 10\ngates = 7\n"), &["world.gates = 7", "at most 6"]);
    let config = "[world]\nhalf_extent_m = 32\nboxes = 10\ngates = 4\nramps = 2\n[combat]\nmax_rewind_ms = 0\n";
    let config = ServerConfig::from_toml(config).unwrap();
    config.check().unwrap();
    let world = config.zone().world;
    assert_eq!((world.map.boxes, world.map.gates, world.map.ramps, world.max_rewind_ms), (10, 4, 2, 0));
    world.validate().unwrap();
}

#[test]
fn a_rewind_longer_than_frames_are_kept_is_refused() {
    assert_names(&refusal("[combat]\nmax_rewind_ms = 401\n"), &["combat.max_rewind_ms = 401", "0 to 400 ms"]);
}

#[test]
fn a_spawn_area_larger_than_the_map_is_refused() {
    let text = refusal("[world]\nhalf_extent_m = 300\nspawn_half_extent_m = 301\n");
    assert_names(&text, &["world.spawn_half_extent_m = 301", "300"]);
}

#[test]
fn development_tokens_beside_a_reachable_http_address_are_refused_with_both_ways_out() {
    let text = refusal("[network]\nhttp = \"0.0.0.0:8080\"\n[access]\ndev_tokens = true\n");
    assert_names(&text, &["access.dev_tokens = true", "0.0.0.0:8080", "access.dev_tokens = false", "loopback"]);
    // The HTTP address follows the UDP address unless it is set.
    assert_names(
        &refusal("[network]\nlisten = \"192.0.2.1:7777\"\n[access]\ndev_tokens = true\n"),
        &["192.0.2.1:7777"],
    );
}

#[test]
fn development_tokens_default_to_on_where_http_is_loopback_and_off_elsewhere() {
    let on = |toml: &str| {
        let config = ServerConfig::from_toml(toml).unwrap();
        config.check().unwrap();
        config.dev_tokens()
    };
    assert!(on(""));
    assert!(on("[network]\nhttp = \"[::1]:8080\"\n"));
    assert!(on("[network]\nhttp = \"[::ffff:127.0.0.1]:8080\"\n"), "IPv4-mapped loopback is loopback");
    assert!(!on("[network]\nhttp = \"0.0.0.0:8080\"\n"));
    assert!(!on("[network]\nlisten = \"0.0.0.0:7777\"\n"));
    assert!(!on("[network]\nhttp = \"\"\n"));
    assert!(!on("[access]\ndev_tokens = false\n"));
}

#[test]
fn an_empty_http_address_switches_the_endpoint_off() {
    let config = ServerConfig::from_toml("[network]\nhttp = \"\"\n").unwrap();
    assert_eq!(config.network.http, HttpListen::Off);
    assert_eq!(config.http(), None);
    assert_eq!(ServerConfig::default().http(), Some(ServerConfig::default().network.listen));
}

#[test]
fn clients_are_never_sent_to_the_unspecified_address() {
    let config = ServerConfig::default();
    let advertised = |bound: &str| config.advertised(bound.parse().unwrap()).to_string();
    assert_eq!(advertised("0.0.0.0:7000"), "127.0.0.1:7000");
    assert_eq!(advertised("[::]:7000"), "[::1]:7000");
    assert_eq!(advertised("192.0.2.1:7000"), "192.0.2.1:7000");
}

#[test]
fn cluster_keys_need_one_source_and_an_epoch_of_their_own() {
    let key = "00".repeat(32);
    let keys = |entries: &str| refusal(&format!("[access]\ncluster_keys = [{entries}]\n"));
    assert_names(&keys("{ epoch = 3 }"), &["epoch 3", "`hex`", "`file`"]);
    assert_names(&keys(&format!("{{ epoch = 3, hex = \"{key}\", file = \"key\" }}")), &["epoch 3", "exactly one"]);
    let twice = format!("{{ epoch = 3, hex = \"{key}\" }}, {{ epoch = 3, file = \"key\" }}");
    assert_names(&keys(&twice), &["epoch 3", "twice"]);
}

#[test]
fn a_key_is_64_hexadecimal_digits_and_never_shown() {
    let text = format!("{}\n", "0aF5".repeat(16));
    assert_eq!(parse_key(&text).map(|key| [key[0], key[1], key[31]]), Some([0x0a, 0xf5, 0xf5]));
    for wrong in [&text[1..], "", &"zz".repeat(32), &"é".repeat(32)] {
        assert_eq!(parse_key(wrong), None, "{wrong:?}");
    }
    let toml = format!("[access]\ncluster_keys = [{{ epoch = 1, hex = \"{}\" }}]\n", "ab".repeat(32));
    let config = ServerConfig::from_toml(&toml).unwrap();
    assert!(!format!("{config:?}").contains("abab"), "a configuration in a log shows no key");
    assert!(!ConfigError::KeyText(1).to_string().contains("abab"));
}

#[test]
fn development_tokens_without_an_http_endpoint_are_refused() {
    let text = refusal("[network]\nhttp = \"\"\n[access]\ndev_tokens = true\n");
    assert_names(&text, &["access.dev_tokens = true", "network.http = \"\""]);
}

#[test]
fn port_0_cannot_be_advertised() {
    let text = refusal("[network]\nadvertise = \"192.0.2.1:0\"\n");
    assert_names(&text, &["network.advertise = \"192.0.2.1:0\"", "port above 0"]);
}

#[test]
fn more_handshakes_without_a_cookie_than_handshakes_are_refused() {
    let text = refusal("[load]\nhandshakes_per_s = 100\n");
    assert_names(&text, &["load.handshakes_per_s = 100", "load.cookie_above_per_s, which is 500 by default"]);
    let text = refusal("[network]\nworkers = 2\n[threads]\nworker_cores = [0, 1, 0]\n");
    assert_names(&text, &["threads.worker_cores = [0, 1, 0]", "network.workers is 2"]);
    let text = refusal("[load]\ncookie_above_per_s = 501\nhandshakes_per_s = 500\n");
    assert_names(&text, &["load.cookie_above_per_s = 501", "load.handshakes_per_s, which is 500"]);
}

#[test]
fn a_snapshot_longer_than_its_channel_takes_is_refused() {
    assert_names(&refusal("[replication]\nsnapshot_bytes = 1353\n"), &["snapshot_bytes = 1353", "1352"]);
}

#[test]
fn limits_of_one_client_and_one_network_are_checked_and_named() {
    assert_names(&refusal("[network]\nclient_bytes_per_s = 3999\n"), &["client_bytes_per_s = 3999", "4000", "bytes/s"]);
    assert_names(&refusal("[network]\nkey_roll_packets = 8388609\n"), &["key_roll_packets", "8388608 packets"]);
    assert_names(&refusal("[network]\nkey_roll_minutes = 0\n"), &["key_roll_minutes = 0", "1 to 1440 min"]);
    assert_names(&refusal("[load]\nprefix_cookie_per_s = 0\n"), &["load.prefix_cookie_per_s = 0", "handshakes/s"]);
    assert!(ServerConfig::from_toml("[load]\nprefix_per_s = 0\n").unwrap().check().is_ok(), "always a cookie");
}

#[test]
fn what_is_far_never_weighs_more_than_what_is_near() {
    let text = refusal("[priority]\nnear = 10\nfar = 11\n");
    assert_names(&text, &["priority.near = 10", "at least priority.far, which is 11"]);
    assert!(
        ServerConfig::from_toml("[priority]\nnear = 10\nfar = 10\n").unwrap().check().is_ok(),
        "distance is nothing"
    );
}

#[test]
fn an_empty_path_is_refused_and_not_taken_for_the_current_directory() {
    for (table, key) in [("record", "dir"), ("world", "rules")] {
        let text = refusal(&format!("[{table}]\n{key} = \"\"\n"));
        assert_names(&text, &[&format!("{table}.{key} = \"\""), "leave the key out"]);
    }
}
