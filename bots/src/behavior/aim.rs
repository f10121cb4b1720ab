//! Where a bot must look to hit.

use core::f32::consts::TAU;

/// Parts of a turn in an input's angles.
const TURN: f32 = 65_536.0;

/// The yaw and pitch (1/65536 turn) of the way from one place to another, in metres: yaw 0 is +z, a quarter +x; a pitch
/// above 0 is up. From a place to itself it is straight ahead.
#[must_use]
pub fn toward(from: [f32; 3], to: [f32; 3]) -> (u16, i16) {
    let [x, y, z] = [0, 1, 2].map(|axis| to[axis] - from[axis]);
    let flat = (x * x + z * z).sqrt();
    let parts = |angle: f32| (angle / TAU * TURN + TURN + 0.5) as i32;
    // Both are within half a turn, so that only the whole turn that was added is to be taken off again.
    let (yaw, pitch) = (parts(libm::atan2f(x, z)), parts(libm::atan2f(y, flat)));
    (yaw as u16, pitch as u16 as i16)
}

/// The squared distance of two places along the ground.
#[must_use]
pub fn flat2(from: [f32; 3], to: [f32; 3]) -> f32 {
    let (x, z) = (to[0] - from[0], to[2] - from[2]);
    x * x + z * z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axes_are_where_the_game_has_them() {
        let from = [10.0, 1.0, -3.0];
        let to = |x: f32, y: f32, z: f32| toward(from, [from[0] + x, from[1] + y, from[2] + z]);
        assert_eq!(to(0.0, 0.0, 5.0), (0, 0));
        assert_eq!(to(5.0, 0.0, 0.0), (1 << 14, 0));
        assert_eq!(to(0.0, 0.0, -5.0), (1 << 15, 0));
        assert_eq!(to(-5.0, 0.0, 0.0), (3 << 14, 0));
        assert_eq!(to(0.0, 5.0, 0.0).1, 1 << 14);
        assert_eq!(to(0.0, -5.0, 5.0), (0, -(1 << 13)));
        assert_eq!(to(0.0, 0.0, 0.0), (0, 0));
    }

    #[test]
    fn looking_along_it_leads_there() {
        for (x, y, z) in [(3.0, 0.5, 9.0), (-8.0, -1.0, 2.0), (-0.1, 0.0, -30.0), (25.0, 3.0, -25.0f32)] {
            let (yaw, pitch) = toward([0.0; 3], [x, y, z]);
            let [yaw, pitch] = [f64::from(yaw), f64::from(pitch)].map(|angle| angle / 65_536.0 * core::f64::consts::TAU);
            let far = f64::from(x * x + y * y + z * z).sqrt();
            let flat = far * libm::cos(pitch);
            let end = [libm::sin(yaw) * flat, libm::sin(pitch) * far, libm::cos(yaw) * flat];
            let miss = end.iter().zip([x, y, z]).map(|(end, want)| (end - f64::from(want)).abs()).fold(0.0, f64::max);
            assert!(miss < 1e-4 * far, "{miss}");
        }
    }
}
