//! Entries are put in order by one function, whatever their type: what is made for each is to compare and to swap two.

use std::cmp::Ordering;
use std::mem;

/// Entries of any type.
pub trait Rows {
    fn count(&self) -> usize;
    fn compare(&self, one: usize, other: usize) -> Ordering;
    fn swap(&mut self, one: usize, other: usize);
}

impl<K: Ord, V> Rows for Vec<(K, V)> {
    fn count(&self) -> usize {
        self.len()
    }

    fn compare(&self, one: usize, other: usize) -> Ordering {
        self[one].0.cmp(&self[other].0)
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.as_mut_slice().swap(one, other);
    }
}

/// Puts the last row of each key in order; how many those are. The others are behind them.
pub fn arrange(rows: &mut dyn Rows) -> usize {
    let len = rows.count();
    if (1..len).all(|at| rows.compare(at - 1, at).is_lt()) {
        return len;
    }
    let mut sorted: Vec<usize> = (0..len).collect();
    // It leaves equal ones in their order.
    sorted.sort_by(|one, other| rows.compare(*one, *other));
    let is_last = |at: usize| {
        let next = sorted.get(at + 1);
        next.is_none_or(|next| rows.compare(sorted[at], *next).is_lt())
    };
    let (last, others): (Vec<usize>, Vec<usize>) = (0..len).partition(|at| is_last(*at));
    let order = last.iter().chain(&others).map(|at| sorted[*at]).collect();
    bring(rows, order);
    last.len()
}

/// Brings to each place the row that is at the place which is named there: along every circle of places once.
fn bring(rows: &mut dyn Rows, mut order: Vec<usize>) {
    for start in 0..order.len() {
        let mut at = start;
        loop {
            let from = mem::replace(&mut order[at], at);
            if from == start {
                break;
            }
            rows.swap(at, from);
            at = from;
        }
    }
}
