//! Positions of sources whose system is told what was acknowledged: the number of the event, counted from 1.

use flowd_engine::record::Position;

/// The position behind this many events.
pub fn counted(number: u64) -> Position {
    Position(number.to_be_bytes().to_vec().into())
}

/// The number in a position that [`counted`] made; 0 in any other.
pub fn number(position: &Position) -> u64 {
    <[u8; 8]>::try_from(&position.0[..]).map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_and_what_is_none_is_the_beginning() {
        for expected in [0, 1, u64::MAX] {
            assert_eq!(number(&counted(expected)), expected);
        }
        assert_eq!(number(&Position::default()), 0);
    }
}
