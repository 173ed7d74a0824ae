//! The axis: positions of values, and ticks.

/// Approximate number of ticks.
const TICKS: f64 = 5.0;

#[derive(Debug)]
pub(super) struct Axis {
    /// The lowest value, or its decimal logarithm.
    low: f64,
    high: f64,
    step: f64,
    logarithmic: bool,
    /// Pixels of the lowest and the highest value.
    pixels: (i32, i32),
}

impl Axis {
    /// From 0, or from the power of ten below all values, to a tick at or above them.
    pub(super) fn of(values: impl Iterator<Item = f64>, logarithmic: bool, pixels: (i32, i32)) -> Axis {
        let values: Vec<f64> =
            values.filter(|value| value.is_finite() && (!logarithmic || *value > 0.0)).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        if logarithmic && most > 0.0 {
            let least = values.iter().copied().fold(most, f64::min);
            let mut low = least.log10().floor();
            // The lowest bar must be visible too.
            if least.log10() - low < 0.1 {
                low -= 1.0;
            }
            return Axis { low, high: most.log10().ceil().max(low + 1.0), step: 1.0, logarithmic, pixels };
        }
        let most = if most > 0.0 { most } else { 1.0 };
        let rough = most / TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        Axis { low: 0.0, high: (most / step).ceil() * step, step, logarithmic: false, pixels }
    }

    pub(super) fn bottom(&self) -> i32 {
        self.pixels.0
    }

    pub(super) fn place(&self, value: f64) -> i32 {
        let value = if self.logarithmic { value.log10() } else { value };
        let part = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        let (low, high) = (f64::from(self.pixels.0), f64::from(self.pixels.1));
        (low + (high - low) * part).round() as i32
    }

    pub(super) fn ticks(&self) -> Vec<f64> {
        let count = ((self.high - self.low) / self.step).round() as i32;
        let ticks = (0..=count).map(|number| self.low + self.step * f64::from(number));
        ticks.map(|tick| if self.logarithmic { 10_f64.powf(tick) } else { tick }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axis_begins_at_zero_and_ends_at_a_round_number() {
        let axis = Axis::of([3.0, 71.0].into_iter(), false, (400, 100));
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!((axis.place(0.0), axis.place(80.0), axis.place(40.0)), (400, 100, 250));
    }

    #[test]
    fn logarithmic_axis_has_powers_of_ten_and_shows_every_bar() {
        let axis = Axis::of([10.0, 5_000.0].into_iter(), true, (400, 100));
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0, 1000.0, 10000.0]);
        assert!(axis.place(10.0) < 400);
    }
}
