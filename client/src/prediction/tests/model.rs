//! Against a naive client that makes everything anew, each time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// One event of a session.
#[derive(Clone, Debug)]
enum Act {
    /// A tick of the client with that input.
    Input(i8, bool),
    /// A snapshot as of so many ticks ago.
    Told(u64),
    /// A call with so many steps.
    Run(u32),
    /// Something happens to the body at the server: it is pushed, gets ammunition, is hurt, dies, comes back.
    Happens(i32, i32, Option<i32>),
    /// The server does not get the inputs of the next so many ticks, and repeats the last one.
    Late(u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (-16..16i8, any::<bool>()).prop_map(|(x, fire)| Act::Input(x, fire)),
        3 => (0..12u64).prop_map(Act::Told),
        4 => (0..20u32).prop_map(Act::Run),
        1 => (-3..3i32, 0..3i32, prop_oneof![Just(None), (0..3i32).prop_map(Some)])
            .prop_map(|(push, loot, health)| Act::Happens(push, loot, health)),
        1 => (0..3u8).prop_map(Act::Late),
    ];
    proptest::collection::vec(act, 1..200)
}

/// The server, and the naive client: from the server's word it makes all ticks anew, each time.
struct Model {
    /// The server's states by tick, made as soon as there is an input.
    truth: BTreeMap<u64, State>,
    inputs: BTreeMap<u64, Input>,
    happens: (i32, i32, Option<i32>),
    late: u8,
    told: u64,
    newest: u64,
}

impl Model {
    fn input(&mut self, input: Input) {
        self.newest += 1;
        self.inputs.insert(self.newest, input);
        let held = self.inputs[&(self.newest - 1)].repeated();
        let used = if self.late > 0 { held } else { input };
        self.late = self.late.saturating_sub(1);
        let mut state = toy(self.newest, &self.truth[&(self.newest - 1)], &used).state;
        let (push, loot, health) = std::mem::take(&mut self.happens);
        [state[0], state[1], state[2]] = [state[0] + push, state[1] + loot, health.unwrap_or(state[2])];
        self.truth.insert(self.newest, state);
    }

    /// The state after the newest input, all ticks made anew from what was told.
    fn predicted(&self) -> State {
        let told = self.truth[&self.told];
        self.inputs.range(self.told + 1..).fold(told, |state, (tick, input)| toy(*tick, &state, input).state)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn it_ends_up_where_replaying_everything_from_scratch_does(acts in acts()) {
        let mut prediction = Prediction::new();
        prediction.tell(100, &state(0), differ);
        let mut model = Model {
            truth: [(100, state(0))].into(),
            inputs: [(100, walk(0))].into(),
            happens: Default::default(),
            late: 0,
            told: 100,
            newest: 100,
        };
        let (mut fired, mut flying) = (BTreeSet::new(), BTreeSet::new());
        for act in acts {
            match act {
                Act::Input(x, fire) => {
                    let input = Input { buttons: if fire { 4 } else { 0 }, ..walk(x) };
                    model.input(input);
                    prop_assert!(prediction.record(model.newest, input));
                }
                Act::Told(ago) => {
                    let tick = model.newest.saturating_sub(ago).max(model.told);
                    let before = model.told;
                    model.told = tick;
                    prediction.tell(tick, &model.truth[&tick], differ);
                    prop_assert!(tick > before || prediction.head().is_some());
                }
                Act::Run(steps) => {
                    let (mut left, before) = (steps, prediction.steps().0);
                    prediction.run(&mut left, &mut toy);
                    prop_assert_eq!(prediction.steps().0 - before, u64::from(steps - left));
                }
                Act::Happens(push, loot, health) => model.happens = (push, loot, health),
                Act::Late(ticks) => model.late = ticks,
            }
            while let Some(shooting) = prediction.poll_shooting() {
                prop_assert_eq!(shooting.first, shooting.weapon.is_some() && fired.insert(shooting.tick));
                if shooting.weapon.is_some() { flying.insert(shooting.tick) } else { flying.remove(&shooting.tick) };
            }
            if prediction.pending() == 0 {
                prop_assert_eq!(prediction.latest().unwrap()[1], model.predicted());
            }
        }
        // However little is done at a time, it ends.
        for _ in 0..=prediction.pending() {
            prediction.run(&mut 1, &mut toy);
        }
        prop_assert_eq!(prediction.pending(), 0);
        prop_assert_eq!(prediction.latest().unwrap()[1], model.predicted());
        while let Some(shooting) = prediction.poll_shooting() {
            if shooting.weapon.is_some() { flying.insert(shooting.tick) } else { flying.remove(&shooting.tick) };
        }
        // What flies now is what those fire that are still to be judged.
        let mut state = model.truth[&model.told];
        for (tick, input) in model.inputs.range(model.told + 1..) {
            let stepped = toy(*tick, &state, input);
            prop_assert_eq!(stepped.shot.is_some(), flying.contains(tick), "{}", tick);
            state = stepped.state;
        }
    }
}
