//! The latest inputs, as they go into packets.

use netcode::bits::BitWriter;
use netcode::input::{MAX_INPUTS, max_input_bits, write_inputs};
use netcode::schema::State;
use sim::Input;
use sim::schema::SCHEMA;

/// How many inputs a packet holds at most: the newest, and those before that the server is not known to hold.
pub const REPEATS: usize = MAX_INPUTS;

/// Bytes of the longest message.
pub(crate) const MAX_BYTES: usize = 128;
const _: () = assert!(max_input_bits(&SCHEMA, REPEATS) <= 8 * MAX_BYTES);

/// The inputs of the newest ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inputs {
    /// Newest first; those in use are of consecutive ticks.
    recent: [State; REPEATS],
    used: usize,
    newest: Option<u64>,
    /// The newest tick whose input the server is known to hold.
    received: Option<u64>,
}

impl Inputs {
    /// Records the input of `tick`, which is newer than all others.
    pub(crate) fn record(&mut self, tick: u64, input: Input) {
        if self.newest.is_none_or(|newest| newest + 1 != tick) {
            // After a jump the ones before are of no use; a message holds consecutive ticks.
            self.used = 0;
        }
        self.recent.rotate_right(1);
        if let Some(place) = self.recent.first_mut() {
            *place = input.to_state();
        }
        self.used = (self.used + 1).min(REPEATS);
        self.newest = Some(tick);
    }

    /// The newest tick of which there is an input.
    pub(crate) const fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// Whether the server is known to hold any.
    pub(crate) const fn any_received(&self) -> bool {
        self.received.is_some()
    }

    /// The snapshot of `tick` says by how much the newest input was ahead of it.
    pub(crate) fn on_margin(&mut self, tick: u64, margin: i8) {
        self.received = self.received.max(tick.checked_add_signed(i64::from(margin)));
    }

    /// Writes the message for the newest tick into `out` and returns its bytes. Inputs that the server holds already
    /// are left out.
    pub(crate) fn write<'a>(&self, out: &'a mut [u8; MAX_BYTES]) -> &'a [u8] {
        let newest = self.newest.unwrap_or(0);
        let unknown = self.received.map_or(REPEATS, |received| {
            usize::try_from(newest.saturating_sub(received)).unwrap_or(REPEATS).clamp(1, REPEATS)
        });
        let Some(inputs) = self.recent.get(..unknown.min(self.used)).filter(|inputs| !inputs.is_empty()) else {
            return &[];
        };
        let mut w = BitWriter::new(out.as_mut_slice());
        write_inputs(&mut w, &SCHEMA, inputs);
        let len = w.finish();
        out.get(..len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcode::input::read_inputs;

    fn input(yaw: u16) -> Input {
        Input { yaw, ..Input::default() }
    }

    fn yaws(inputs: &Inputs) -> Vec<u16> {
        let mut out = [0; MAX_BYTES];
        let read = read_inputs(&SCHEMA, inputs.write(&mut out)).unwrap();
        read.iter().map(|state| Input::from_state(state).yaw).collect()
    }

    #[test]
    fn the_latest_inputs_are_repeated_newest_first() {
        let mut inputs = Inputs::default();
        for tick in 1..=6u16 {
            inputs.record(u64::from(tick), input(tick));
        }
        assert_eq!(yaws(&inputs), [6, 5, 4, 3, 2, 1]);
        for tick in 7..=12 {
            inputs.record(u64::from(tick), input(tick));
        }
        assert_eq!(yaws(&inputs), [12, 11, 10, 9, 8, 7, 6, 5], "there is a limit");
    }

    #[test]
    fn what_the_server_holds_is_not_repeated() {
        let mut inputs = Inputs::default();
        for tick in 1..=6u16 {
            inputs.record(u64::from(tick), input(tick));
        }
        inputs.on_margin(6, -2);
        assert_eq!(yaws(&inputs), [6, 5]);
        inputs.on_margin(3, 0);
        assert_eq!(yaws(&inputs), [6, 5], "an older report changes nothing");
        inputs.on_margin(4, 100);
        assert_eq!(yaws(&inputs), [6], "the newest is always sent");
    }

    #[test]
    fn a_jump_starts_the_row_anew() {
        let mut inputs = Inputs::default();
        inputs.record(1, input(1));
        inputs.record(2, input(2));
        inputs.record(9, input(9));
        assert_eq!(yaws(&inputs), [9]);
    }

    #[test]
    fn nothing_recorded_is_nothing_to_send() {
        assert_eq!(Inputs::default().write(&mut [0; MAX_BYTES]), [0; 0]);
    }
}
