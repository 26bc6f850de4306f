//! Packets by reason.

use lb_abi::Reason;

use super::{Error, Maps, failed, map};

impl Maps {
    /// Packets by reason since the maps were made.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel cannot be asked.
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, Error> {
        let sums = self.counters.sums().map_err(failed(map::COUNTERS))?;
        let count = |reason: Reason| sums.get(reason as usize).copied().unwrap_or_default();
        let all = Reason::ALL.into_iter();
        Ok(all.map(|reason| (name(reason), count(reason))).collect())
    }

    /// Packets of one reason since the maps were made.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel cannot be asked.
    pub fn counter(&self, reason: Reason) -> Result<u64, Error> {
        let sums = self.counters.sums().map_err(failed(map::COUNTERS))?;
        Ok(sums.get(reason as usize).copied().unwrap_or_default())
    }
}

fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Local => "Local",
        Reason::Remote => "Remote",
        Reason::Reply => "Reply",
        Reason::NewFlow => "NewFlow",
        Reason::Ping => "Ping",
        Reason::Socket => "Socket",
        Reason::NoService => "NoService",
        Reason::NoBackend => "NoBackend",
        Reason::NotRoutable => "NotRoutable",
        Reason::NoSnatPort => "NoSnatPort",
        Reason::NoSnatAddress => "NoSnatAddress",
        Reason::NoRoute => "NoRoute",
        Reason::HopLimit => "HopLimit",
        Reason::Fragment => "Fragment",
        Reason::TableFull => "TableFull",
        Reason::Healed => "Healed",
        Reason::DirectTakeover => "DirectTakeover",
        Reason::Malformed => "Malformed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_called_what_it_is_called_in_the_code() {
        for reason in Reason::ALL {
            assert_eq!(name(reason), format!("{reason:?}"));
        }
    }
}
