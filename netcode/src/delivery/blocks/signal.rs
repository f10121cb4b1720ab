//! A frame without payload that is repeated until it arrives or means nothing any more.

/// What is signalled, and whether it is due.
#[derive(Debug)]
pub struct Signal<T> {
    value: Option<T>,
    due: bool,
}

impl<T: Copy + PartialEq> Signal<T> {
    pub const IDLE: Self = Self { value: None, due: false };

    /// Signals `value`, and what was signalled before no more.
    pub fn raise(&mut self, value: T) {
        *self = Self { value: Some(value), due: true };
    }

    pub fn clear(&mut self) {
        *self = Self::IDLE;
    }

    pub const fn is_idle(&self) -> bool {
        self.value.is_none()
    }

    pub const fn value(&self) -> Option<T> {
        self.value
    }

    pub const fn is_due(&self) -> bool {
        self.due
    }

    /// Offers the signal if it is due.
    pub fn carry(&mut self, take: impl FnOnce(T) -> bool) -> Option<T> {
        let value = self.value.filter(|_| self.due)?;
        self.due = !take(value);
        (!self.due).then_some(value)
    }

    pub fn on_acked(&mut self, value: T) {
        if self.value == Some(value) {
            self.clear();
        }
    }

    pub fn on_lost(&mut self, value: T) {
        self.due |= self.value == Some(value);
    }

    pub fn on_probe(&mut self) {
        self.due = self.value.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_value_is_repeated_and_only_its_ack_ends_it() {
        let mut signal = Signal::IDLE;
        signal.raise(1);
        assert_eq!(signal.carry(|_| false), None);
        assert_eq!(signal.carry(|_| true), Some(1));
        signal.raise(2);
        signal.on_lost(1);
        assert!(signal.is_due(), "the loss of an older value takes nothing from the newer");
        assert_eq!(signal.carry(|_| true), Some(2));
        signal.on_lost(1);
        signal.on_acked(1);
        assert!(!signal.is_due() && !signal.is_idle());
        signal.on_lost(2);
        assert_eq!(signal.carry(|_| true), Some(2));
        signal.on_probe();
        assert!(signal.is_due());
        signal.on_acked(2);
        assert!(!signal.is_due() && signal.is_idle());
    }
}
