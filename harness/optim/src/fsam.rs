//! Fisher SAM (Kim et al., 2022).

use crate::{Error, data::data, knobs::Fisher};

data! {
    /// Knobs of Fisher SAM.
    pub struct Fsam {
        /// The Fisher information and the step's radius.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub fisher: Fisher = Fisher::default(),
    }
}

impl Fsam {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.fisher.check()?;
        Ok(())
    }
}
