//! In which order queues are asked for work: the interactive lane strictly first, and within a lane by turns.

use gatewright_schemas::Lane;

/// The order in which queues are asked. A queue is named by its index in the list that this was made of.
#[derive(Debug)]
pub(crate) struct Rota(Vec<(Lane, usize)>);

impl Rota {
    /// Begins with the order in which the queues, of these lanes, are listed.
    pub(crate) fn new(lanes: impl IntoIterator<Item = Lane>) -> Self {
        let numbered = lanes.into_iter().enumerate();
        let mut order: Vec<_> = numbered.map(|(index, lane)| (lane, index)).collect();
        order.sort_by_key(|(lane, _)| *lane != Lane::Interactive);
        Self(order)
    }

    /// Whom to ask first, second and so on.
    pub(crate) fn order(&self) -> Vec<usize> {
        self.0.iter().map(|(_, index)| *index).collect()
    }

    /// The queue yielded something: within its lane everybody else is asked before it is asked again.
    pub(crate) fn served(&mut self, queue: usize) {
        let Some(place) = self.0.iter().position(|(_, index)| *index == queue) else {
            return;
        };
        let served = self.0.remove(place);
        let after = self.0.iter().rposition(|(lane, _)| *lane == served.0);
        self.0.insert(after.map_or(place, |last| last + 1), served);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANES: [Lane; 6] = [
        Lane::Interactive,
        Lane::Interactive,
        Lane::Interactive,
        Lane::Background,
        Lane::Background,
        Lane::Background,
    ];

    /// Serves one of `busy` at a time, as often as `times`; answers with who was served.
    fn served(rota: &mut Rota, busy: &[usize], times: usize) -> Vec<usize> {
        let mut served = Vec::new();
        for _ in 0..times {
            let first = rota.order().into_iter().find(|queue| busy.contains(queue));
            if let Some(queue) = first {
                rota.served(queue);
                served.push(queue);
            }
        }
        served
    }

    #[test]
    fn a_busy_zone_does_not_starve_the_others_of_its_lane() {
        let mut rota = Rota::new(LANES);
        assert_eq!(served(&mut rota, &[3, 4, 5], 6), [3, 4, 5, 3, 4, 5]);
        // With an idle one between them they still take turns.
        assert_eq!(served(&mut rota, &[3, 5], 4), [3, 5, 3, 5]);
    }

    #[test]
    fn interactive_runs_go_before_every_background_one() {
        let mut rota = Rota::new(LANES);
        assert_eq!(served(&mut rota, &[1, 3, 4], 4), [1, 1, 1, 1]);
        assert_eq!(served(&mut rota, &[3, 4], 3), [3, 4, 3]);
        assert_eq!(served(&mut rota, &[0, 2, 5], 3), [0, 2, 0]);
    }

    #[test]
    fn lanes_may_be_listed_in_any_order() {
        let rota = Rota::new([Lane::Background, Lane::Interactive]);
        assert_eq!(rota.order(), [1, 0]);
    }

    #[test]
    fn a_single_queue_is_asked_again_and_again() {
        let mut rota = Rota::new([Lane::Background]);
        assert_eq!(served(&mut rota, &[0], 3), [0, 0, 0]);
    }
}
