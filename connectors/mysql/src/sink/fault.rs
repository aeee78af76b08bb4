//! What an error of the server means for a put: the event's own fault, or the end of the attempt.

use flowd_engine::failure::Failure;

use crate::error::WireError;
use crate::sink::session::Warning;

/// A statement that did not do what it should.
#[derive(Debug)]
pub(super) enum Fault {
    /// A unique index has the value already.
    Duplicate(String),
    /// The server refuses the row.
    Refused(String),
    /// The server took something else than what was written; it is in the transaction.
    Altered(String),
    /// Nothing to do with the row.
    Failed(Failure),
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        /// Access denied, in its forms.
        const DENIED: [u16; 6] = [1044, 1045, 1142, 1143, 1227, 1370];
        /// Read-only servers, full disks and tables, engine trouble, definitions that change right now.
        const LATER: [u16; 10] = [1020, 1021, 1030, 1114, 1290, 1412, 1792, 1836, 1846, 3100];
        /// ER_DUP_ENTRY in its forms.
        const DUPLICATE: [u16; 3] = [1062, 1586, 1859];
        match error.code() {
            Some(code) if DUPLICATE.contains(&code) => Self::Duplicate(error.to_string()),
            Some(code) if DENIED.contains(&code) => Self::Failed(Failure::Unusable(format!(
                "the account lacks a right on the target: {error} (it needs SELECT, INSERT, UPDATE and DELETE)"
            ))),
            Some(code) if LATER.contains(&code) || error.heals() => {
                Self::Failed(Failure::Retry(error.to_string()))
            }
            Some(_) => Self::Refused(error.to_string()),
            None => Self::Failed(error.into()),
        }
    }
}

/// Whether a warning says that something else was stored, or compared, than what was written.
pub(super) fn alters(warning: &Warning) -> bool {
    // Out of range, truncated, incorrect value or string, too long, invalid for a function, a default taken instead.
    const ALTERING: [u16; 14] =
        [1048, 1261, 1263, 1264, 1265, 1292, 1300, 1364, 1366, 1406, 1411, 1441, 1690, 3140];
    ALTERING.contains(&warning.code)
}

/// Whether it is what a loose session says where the empty value of an ENUM is stored.
pub(super) fn is_empty_label(warning: &Warning) -> bool {
    warning.code == 1265
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: u16, state: &str) -> Fault {
        WireError::Server { code, state: state.into(), message: "text".into() }.into()
    }

    #[test]
    fn only_what_the_row_itself_is_to_blame_for_refuses_it() {
        for code in [1264, 1366, 1406, 1048, 1364, 1146, 1054, 1644, 3819, 4025, 3140] {
            assert!(matches!(fault(code, "HY000"), Fault::Refused(_)), "{code}");
        }
        assert!(matches!(fault(1062, "23000"), Fault::Duplicate(_)));
        for (code, state) in
            [(1213, "40001"), (1205, "HY000"), (1290, "HY000"), (1114, "HY000"), (1927, "70100")]
        {
            assert!(matches!(fault(code, state), Fault::Failed(Failure::Retry(_))), "{code}");
        }
        assert!(matches!(fault(1142, "42000"), Fault::Failed(Failure::Unusable(_))));
        let lost = WireError::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(Fault::from(lost), Fault::Failed(Failure::Retry(_))));
    }
}
