//! Points over time in bounded memory: when there are too many, every second one goes, and from then on only every second
//! one is taken. What is left is spread evenly over the whole run.

const POINTS_MAX: usize = 1 << 16;

/// The points of a run, in order.
#[derive(Debug, Clone)]
pub(super) struct Series<T> {
    points: Vec<T>,
    seen: u64,
    /// One in so many is kept.
    keep_every: u64,
}

impl<T: Copy> Series<T> {
    pub(super) fn new() -> Series<T> {
        Series { points: Vec::new(), seen: 0, keep_every: 1 }
    }

    pub(super) fn push(&mut self, point: T) {
        if self.seen.is_multiple_of(self.keep_every) {
            if self.points.len() == POINTS_MAX {
                let mut is_kept = false;
                self.points.retain(|_| {
                    is_kept = !is_kept;
                    is_kept
                });
                self.keep_every *= 2;
            }
            self.points.push(point);
        }
        self.seen += 1;
    }

    pub(super) fn points(&self) -> &[T] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_evenly_spread_points_within_the_bound() {
        let mut series = Series::new();
        for n in 0..POINTS_MAX as u64 * 5 + 3 {
            series.push(n);
        }
        let points = series.points();
        assert!(points.len() <= POINTS_MAX && points.len() >= POINTS_MAX / 2, "{}", points.len());
        let step = points[1] - points[0];
        assert!(points.windows(2).all(|pair| pair[1] - pair[0] == step), "spread evenly");
        assert_eq!((points[0], step), (0, 8));
        assert!(points.last().unwrap() + step > POINTS_MAX as u64 * 5);
    }
}
