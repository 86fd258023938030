//! Which cloud is asked next, when there are several: in an order drawn once, so that a fleet spreads,
//! and beginning with the one that served last.

use std::cell::Cell;

use crate::config::edge::network::CloudAt;

pub struct Clouds {
    order: Vec<CloudAt>,
    current: Cell<usize>,
}

impl Clouds {
    /// There is at least one.
    pub fn new(clouds: &[CloudAt]) -> Clouds {
        let mut order = clouds.to_vec();
        fastrand::shuffle(&mut order);
        Clouds {
            order,
            current: Cell::new(0),
        }
    }

    /// Every cloud once.
    pub fn in_turn(&self) -> Vec<CloudAt> {
        let mut turn = self.order.clone();
        turn.rotate_left(self.current.get());
        turn
    }

    /// This one served, and is the first from now on.
    pub fn served(&self, cloud: &CloudAt) {
        if let Some(index) = self.order.iter().position(|known| known == cloud) {
            self.current.set(index);
        }
    }

    pub fn current(&self) -> CloudAt {
        self.order[self.current.get()].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clouds(count: u16) -> Vec<CloudAt> {
        let at = |port: u16| CloudAt {
            hub: format!("127.0.0.1:{port}").parse().unwrap(),
            api: format!("127.0.0.1:{}", port + 1000).parse().unwrap(),
        };
        (1..=count).map(at).collect()
    }

    #[test]
    fn the_one_that_served_is_first_and_the_others_follow_in_their_order() {
        let given = clouds(4);
        let clouds = Clouds::new(&given);
        let turn = clouds.in_turn();
        assert_eq!(turn[0], clouds.current());
        assert!(given.iter().all(|cloud| turn.contains(cloud)) && turn.len() == 4);
        clouds.served(&turn[2]);
        let next = clouds.in_turn();
        assert_eq!(next, [&turn[2..], &turn[..2]].concat());
        assert_eq!(clouds.current(), turn[2]);
    }

    #[test]
    fn devices_begin_with_different_ones() {
        let given = clouds(4);
        let first = |_| Clouds::new(&given).current();
        let firsts: Vec<CloudAt> = (0..200).map(first).collect();
        assert!(given.iter().all(|cloud| firsts.contains(cloud)));
    }
}
