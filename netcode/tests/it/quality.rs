//! The figures that a connection gives of itself, on links whose true figures are known; acks in time; caps kept.

use std::sync::Arc;
use std::time::Duration;

use netcode::channel::{INPUT, SNAPSHOT, Table};
use netcode::client::ClientConfig;
use netcode::emulator::LinkConfig;
use netcode::server::ServerConfig;
use netcode::stats::Drop;
use netcode::token::TokenClaims;

use crate::lab::{End, GOOD, MS, ORDERED, SECOND, UNORDERED, noise};
use crate::pair::{Pair, SCHEMA_HASH, claims, client_addr, server_addr, server_config};

const GRAIN: Duration = Duration::from_millis(10);

#[test]
fn times_losses_and_rates_are_what_the_link_says() {
    for (delay, jitter, loss) in [(10, 0, 0.0), (30, 10, 0.0), (50, 20, 0.05), (100, 5, 0.2)] {
        let link = LinkConfig { delay: delay * MS, jitter: jitter * MS, loss, ..GOOD };
        let mut pair = Pair::lab(1, link);
        pair.snapshot_bytes = 400;
        pair.clients[0].plays = true;
        pair.start_ticks();
        pair.run_for(60 * SECOND);
        pair.wire = Some(Vec::new());
        pair.run_for(10 * SECOND);
        let wire = pair.wire.take().unwrap();
        for end in End::BOTH {
            let quality = pair.quality(end);
            println!("{delay} ms + {jitter} ms, {loss}, {end:?}: {quality:?}");
            // There, back, and half the jitter of each; all of it at the worst.
            let (mean, worst) = (u64::from(2 * delay + jitter) * 1000, u64::from(2 * (delay + jitter)) * 1000);
            let slack = 1500 + u64::from(jitter) * 500;
            assert!(quality.rtt.abs_diff(mean) <= slack && quality.rtt_p50.abs_diff(mean) <= slack);
            assert!((mean - 500..=worst + 2000).contains(&quality.rtt_p99));
            assert!((u64::from(2 * delay) * 1000..=mean).contains(&quality.rtt_min));
            assert!(quality.jitter <= 300 + u64::from(jitter) * 700 && quality.jitter >= u64::from(jitter) * 100);
            let lost = (quality.lost - quality.spurious) as f64 / (quality.acked + quality.lost) as f64;
            assert!((lost - loss).abs() <= 0.003 + loss * 0.25, "{lost}");
            let from = if end == End::Client { client_addr(0) } else { server_addr() };
            let sent: usize = wire.iter().filter(|sent| sent.from == from).map(|sent| sent.bytes.len()).sum();
            let sent = sent as f64 / 10.0;
            let (out, back) = (quality.bytes_per_s_out as f64, pair.quality(end.other()).bytes_per_s_in as f64);
            assert!((out / sent - 1.0).abs() < 0.15, "{out} of {sent} out");
            assert!((back / (sent * (1.0 - loss)) - 1.0).abs() < 0.25, "{back} of {sent} in");
            assert_eq!(quality.mtu, 1452);
        }
    }
}

#[test]
fn the_rate_is_near_what_a_narrow_path_carries() {
    let link = LinkConfig { rate_bytes_per_s: Some(200_000), queue_bytes: 32 * 1024, ..GOOD };
    let mut pair = Pair::lab(2, link);
    for end in End::BOTH {
        pair.start_block(end, Arc::from(noise(2, 8 << 20))).unwrap();
    }
    pair.run_for(20 * SECOND);
    for end in End::BOTH {
        let quality = pair.quality(end);
        println!("{end:?}: rate {}, {} out", quality.rate, quality.bytes_per_s_out);
        assert!((140_000..=240_000).contains(&quality.rate), "{}", quality.rate);
        assert!((140_000..=240_000).contains(&quality.bytes_per_s_out), "{}", quality.bytes_per_s_out);
    }
}

#[test]
fn queue_depths_count_what_is_not_acknowledged_yet() {
    for end in End::BOTH {
        let mut pair = Pair::lab(3, GOOD);
        pair.net.block(client_addr(0), server_addr(), pair.now + 500 * MS);
        pair.net.block(server_addr(), client_addr(0), pair.now + 500 * MS);
        for channel in [ORDERED, UNORDERED] {
            for _ in 0..10 {
                pair.send_from(end, channel, &[0; 100]).unwrap();
            }
        }
        pair.start_block(end, Arc::from(noise(3, 5000))).unwrap();
        for _ in 0..2 {
            let quality = pair.quality(end);
            assert_eq!((quality.queued_bytes, quality.queued_messages), (7000, 20 + 5), "{end:?}");
            pair.run_for(400 * MS);
        }
        pair.run_for(3 * SECOND);
        let quality = pair.quality(end);
        assert_eq!((quality.queued_bytes, quality.queued_messages, quality.dropped), (0, 0, 0));
    }
}

/// How long after `count` packets of `end` arrived at once, the `lost`th of them never, the other end acknowledged them.
fn ack_delay(end: End, count: usize, lost: Option<usize>) -> Duration {
    let mut pair = Pair::lab_with(4, GOOD, Table::lab(), |server, client| {
        (server.features, client.features) = (netcode::features::Features::NONE, netcode::features::Features::NONE);
    });
    pair.run_for(SECOND + 500 * MS);
    let (from, to) = match end {
        End::Client => (client_addr(0), server_addr()),
        End::Server => (server_addr(), client_addr(0)),
    };
    let mut out = [0; netcode::packet::MAX_DATAGRAM];
    for number in 0..count {
        pair.send_from(end, ORDERED, &[7]).unwrap();
        let len = match end {
            End::Client => pair.clients[0].endpoint.poll_transmit(pair.now, &mut out),
            End::Server => pair.server.transmit(pair.now, pair.live[0], &mut out, None).map(|sent| sent.len),
        };
        if lost != Some(number) {
            pair.net.send(pair.now, from, to, &out[..len.unwrap()]);
        }
    }
    let arrival = pair.now + GOOD.delay;
    pair.run_for(GOOD.delay - MS);
    pair.wire = Some(Vec::new());
    loop {
        let now = pair.now;
        pair.flush();
        if pair.wire.as_ref().unwrap().iter().any(|sent| sent.from == to) {
            return now.saturating_since(arrival);
        }
        assert!(pair.step(arrival + SECOND));
    }
}

#[test]
fn acks_go_at_once_after_a_gap_and_after_eight_packets_and_else_within_sixty_milliseconds() {
    for end in End::BOTH {
        // What a client sends, a server acknowledges when it next looks at its timers.
        let at_once = if end == End::Client { GRAIN } else { MS };
        let delays = [(1, None), (7, None), (8, None), (3, Some(1)), (5, Some(0))];
        let delays = delays.map(|(count, lost)| ack_delay(end, count, lost));
        println!("one, seven, eight packets of the {end:?}, and two gaps: {delays:?}");
        assert!(delays[..2].iter().all(|delay| (40 * MS..=60 * MS + GRAIN + MS).contains(delay)));
        assert!(delays[2..].iter().all(|delay| *delay <= at_once));
    }
}

fn capped(change: impl FnOnce(&mut TokenClaims)) -> Pair {
    let mut pair = Pair::new(5, ServerConfig { channels: Table::lab(), ..server_config() });
    pair.net.set_default(GOOD);
    let mut claims = claims();
    change(&mut claims);
    let bundle = pair.bundle(&claims);
    pair.add_client(&bundle, ClientConfig { channels: Table::lab(), ..ClientConfig::new(SCHEMA_HASH) });
    pair.run_for(SECOND);
    pair
}

#[test]
fn who_sends_more_than_its_token_allows_is_cut_and_its_reliable_messages_arrive_all_the_same() {
    let mut pair = capped(|claims| claims.up_cap = 10_000);
    let mut sent = Vec::new();
    // Inputs do not wait for the rate: a thousand a second are some 80 kB.
    for number in 0..10_000u32 {
        pair.send_from(End::Client, INPUT, &noise(u64::from(number), 50)).unwrap();
        if number % 200 == 0 {
            sent.push(number.to_le_bytes().to_vec());
            pair.send_from(End::Client, ORDERED, &number.to_le_bytes()).unwrap();
        }
        pair.run_for(MS);
    }
    let (over, bytes) = (pair.server_drops(Drop::OverCap), pair.count(End::Server, INPUT));
    println!("{over} packets beyond the cap; {bytes} inputs arrived");
    assert!(over > 7000 && pair.quality(End::Server).bytes_per_s_in <= 11_000);
    pair.run_for(20 * SECOND);
    assert_eq!(pair.arrived(End::Server, ORDERED), sent);
    pair.assert_honest();
}

#[test]
fn whoever_keeps_to_its_cap_is_never_cut() {
    let mut pair = capped(|claims| claims.up_cap = 40_000);
    pair.clients[0].plays = true;
    pair.start_ticks();
    pair.start_block(End::Client, Arc::from(noise(6, 1 << 20))).unwrap();
    pair.run_for(20 * SECOND);
    let quality = pair.quality(End::Client);
    println!("{} bytes of a block in 20 s at 40 kB/s", pair.block_bytes(End::Server));
    assert_eq!((pair.server_drops(Drop::OverCap), quality.lost), (0, 0));
    assert!(pair.block_bytes(End::Server) > 600_000 && quality.rate <= 40_000);
}

#[test]
fn a_server_keeps_the_cap_of_a_token_within_five_percent() {
    for cap in [50_000, 200_000, 800_000] {
        let mut pair = capped(|claims| claims.down_cap = cap);
        pair.snapshot_bytes = 400;
        pair.start_ticks();
        pair.start_block(End::Server, Arc::from(noise(7, 16 << 20))).unwrap();
        pair.run_for(3 * SECOND);
        pair.wire = Some(Vec::new());
        pair.run_for(10 * SECOND);
        let sent = pair.wire.take().unwrap().into_iter().filter(|sent| sent.from == server_addr());
        let share = sent.map(|sent| sent.bytes.len()).sum::<usize>() as f64 / 10.0 / f64::from(cap);
        println!("{share:.3} of {cap} bytes/s, {} snapshots", pair.count(End::Client, SNAPSHOT));
        assert!((0.95..=1.05).contains(&share), "{share}");
    }
}
