//! What is different, as it was and as it is.

/// What has come, gone or changed. Of what is not as it was, both are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed<T> {
    /// As it was.
    pub gone: T,
    /// As it is.
    pub new: T,
}

impl<T> Changed<Vec<T>> {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.new.is_empty()
    }
}
