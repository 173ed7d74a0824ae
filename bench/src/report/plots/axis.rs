//! The axis of values: their positions in the picture, and the ticks.

/// Approximate number of ticks.
const APPROXIMATE_TICKS: f64 = 5.0;

#[derive(Debug)]
pub(super) struct Axis {
    /// The lowest value of the axis; on a logarithmic axis, its decimal logarithm.
    low: f64,
    high: f64,
    step: f64,
    logarithmic: bool,
    /// Positions of the lowest and the highest value, in pixels.
    pixels: (i32, i32),
}

impl Axis {
    /// An axis from 0 to a tick at or above all values. A logarithmic axis begins at a power of ten below all values.
    pub(super) fn covering(values: impl Iterator<Item = f64>, logarithmic: bool, pixels: (i32, i32)) -> Axis {
        let values: Vec<f64> =
            values.filter(|value| value.is_finite() && (!logarithmic || *value > 0.0)).collect();
        let max = values.iter().copied().fold(0.0, f64::max);
        if logarithmic && max > 0.0 {
            let least = values.iter().copied().fold(max, f64::min);
            let mut low = least.log10().floor();
            // Moves the beginning down if the lowest bar would be too short to see.
            if least.log10() - low < 0.1 {
                low -= 1.0;
            }
            return Axis { low, high: max.log10().ceil().max(low + 1.0), step: 1.0, logarithmic, pixels };
        }
        let max = if max > 0.0 { max } else { 1.0 };
        let rough = max / APPROXIMATE_TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        Axis { low: 0.0, high: (max / step).ceil() * step, step, logarithmic: false, pixels }
    }

    pub(super) fn bottom(&self) -> i32 {
        self.pixels.0
    }

    /// The vertical position of a value, in pixels from the top of the picture.
    pub(super) fn y_position(&self, value: f64) -> i32 {
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
        let axis = Axis::covering([3.0, 71.0].into_iter(), false, (400, 100));
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!((axis.y_position(0.0), axis.y_position(80.0), axis.y_position(40.0)), (400, 100, 250));
    }

    #[test]
    fn logarithmic_axis_has_powers_of_ten_and_shows_every_bar() {
        let axis = Axis::covering([10.0, 5_000.0].into_iter(), true, (400, 100));
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0, 1000.0, 10000.0]);
        assert!(axis.y_position(10.0) < 400);
    }
}
