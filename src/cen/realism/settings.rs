//! How real the cloud is to be.

/// The longest delay, in milliseconds: ten minutes, about as long as the cloud takes for a VPN gateway.
pub const MAX_DELAY: u64 = 10 * 60 * 1000;

/// How real the cloud is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// How long something is under way, in milliseconds, up to [`MAX_DELAY`]; 0: everything is settled at once.
    pub delay: u64,
    /// How many of the writes are refused as busy, 0 to 1; 0: none.
    pub busy: f64,
    /// What decides which ones: with the same seed the same calls of each action, counted from when it was set.
    pub seed: u64,
    /// Calls in a second, of one action and access key; 0: any number.
    pub calls_per_second: u32,
}

/// What of the [`Settings`] is to be another; `None`: it stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Modification {
    /// [`Settings::delay`].
    pub delay: Option<u64>,
    /// [`Settings::busy`].
    pub busy: Option<f64>,
    /// [`Settings::seed`].
    pub seed: Option<u64>,
    /// [`Settings::calls_per_second`].
    pub calls_per_second: Option<u32>,
}

impl Settings {
    /// The settings with this modification.
    pub fn modified(self, modification: Modification) -> Self {
        let Modification { delay, busy, seed, calls_per_second } = modification;
        Self {
            delay: delay.unwrap_or(self.delay),
            busy: busy.unwrap_or(self.busy),
            seed: seed.unwrap_or(self.seed),
            calls_per_second: calls_per_second.unwrap_or(self.calls_per_second),
        }
    }
}
