//! What the filter's table holds, to be compared with what it should.

/// What a table holds, as `nft` prints it without counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing(pub(super) String);

impl Listing {
    /// Whether the table has a flag, as one that was put to sleep has. JSON does not tell.
    pub(super) fn has_flags(&self) -> bool {
        self.0.lines().any(|line| line.starts_with("\tflags "))
    }

    /// Whether both differ in the elements of their sets at most.
    pub fn has_the_rules_of(&self, other: &Self) -> bool {
        self.without_elements().eq(other.without_elements())
    }

    fn without_elements(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.0.lines().filter(move |line| {
            let of_elements = inside || line.trim_start().starts_with("elements = {");
            inside = of_elements && !line.trim_end().ends_with('}');
            !of_elements
        })
    }
}

/// What a table holds: this, or this with other elements, which is to be compared.
#[derive(Debug)]
pub enum Holds {
    /// Exactly this.
    This(Listing),
    /// The rules of this one.
    WithOtherElements(Listing),
}

impl Holds {
    /// The same after elements of it were changed.
    #[must_use]
    pub fn with_other_elements(self) -> Self {
        let (Self::This(listing) | Self::WithOtherElements(listing)) = self;
        Self::WithOtherElements(listing)
    }
}
