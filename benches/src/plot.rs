//! Charts as SVG: lines over the number of players, stacked bars, and lines over time in panels of one unit each.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// The plane's edges: left, top, right, bottom.
const PLANE: [f64; 4] = [64.0, 44.0, WIDTH - 140.0, HEIGHT - 48.0];
/// Wong, "Points of view: Color blindness", Nature Methods 8 (2011).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// The fewest marks on the upward axis.
const MARKS: f64 = 4.0;
/// From the top of a panel to that of the next, and the height of its plane.
const PANEL: [f64; 2] = [170.0, 110.0];

/// Values of one name, over the number of players.
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// Players (at least 1) and value, by players.
    pub points: Vec<(f64, f64)>,
}

/// A line for each series; players on a logarithmic axis.
#[must_use]
pub fn lines(title: &str, unit: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points);
    let top = points().map(|(_, value)| *value).fold(0.0, f64::max);
    let first = points().map(|(players, _)| *players).fold(f64::INFINITY, f64::min).max(1.0);
    let last = points().map(|(players, _)| *players).fold(first, f64::max);
    let mut page = Page::new(title, unit, top);
    let (from, to) = (log2(first), log2(last).max(log2(first) + 0.1));
    let x = |players: f64| PLANE[0] + 20.0 + (log2(players) - from) / (to - from) * (PLANE[2] - PLANE[0] - 40.0);
    let mut marks: Vec<f64> = points().map(|(players, _)| *players).collect();
    marks.sort_unstable_by(f64::total_cmp);
    marks.dedup();
    marks.iter().for_each(|players| page.mark(x(*players), &format!("{players}")));
    for (at, series) in series.iter().enumerate() {
        let places: Vec<_> = series.points.iter().map(|(players, value)| (x(*players), page.y(*value))).collect();
        page.polyline(colour(at), &places);
        page.legend(at, &series.name);
    }
    page.finish("players")
}

/// A bar for each label, of parts that lie on one another, one of each series; below them stands `axis`.
#[must_use]
pub fn bars(title: &str, unit: &str, axis: &str, labels: &[String], series: &[(String, Vec<f64>)]) -> String {
    let sum = |at: usize| series.iter().filter_map(|(_, values)| values.get(at)).sum::<f64>();
    let top = (0..labels.len()).map(sum).fold(0.0, f64::max);
    let mut page = Page::new(title, unit, top);
    let room = (PLANE[2] - PLANE[0]) / labels.len().max(1) as f64;
    for (at, label) in labels.iter().enumerate() {
        let left = PLANE[0] + room * (at as f64 + 0.2);
        page.mark(left + room * 0.3, label);
        let mut below = 0.0;
        for (number, (_, values)) in series.iter().enumerate() {
            let value = values.get(at).copied().unwrap_or(0.0);
            page.rect(colour(number), [left, page.y(below + value), room * 0.6, page.y(below) - page.y(below + value)]);
            below += value;
        }
    }
    series.iter().enumerate().for_each(|(at, (name, _))| page.legend(at, name));
    page.finish(axis)
}

/// Values over time, of one unit.
pub struct Panel {
    /// What they are.
    pub name: String,
    /// Their unit.
    pub unit: String,
    /// Each with seconds and value, by time; what is no number is a gap. Their order is that of the legend.
    pub lines: Vec<Vec<(f64, f64)>>,
}

/// A plane for each panel, one below the other, over the same time; `names`: of each panel's lines.
#[must_use]
pub fn panels(title: &str, names: &[String], panels: &[Panel]) -> String {
    let points = |panel: &Panel| panel.lines.iter().flatten().copied().collect::<Vec<_>>();
    let end = panels.iter().flat_map(points).map(|(at, _)| at).fold(1.0, f64::max);
    let step = round_step(end / 2.0 / MARKS);
    let height = PLANE[1] + PANEL[0] * panels.len().max(1) as f64 + 10.0;
    let mut page = Page::sheet(title, height);
    names.iter().enumerate().for_each(|(at, name)| page.legend(at, name));
    for (at, panel) in panels.iter().enumerate() {
        let above = PLANE[1] + PANEL[0] * at as f64 + 20.0;
        let top =
            points(panel).into_iter().map(|(_, value)| value).filter(|value| value.is_finite()).fold(0.0, f64::max);
        page.plane([PLANE[0], above, PLANE[2], above + PANEL[1]], &panel.unit, top);
        page.label((PLANE[0] + 24.0, above - 8.0), "start", &panel.name);
        let x = |seconds: f64| PLANE[0] + seconds / end * (PLANE[2] - PLANE[0]);
        let marks = (end / step).floor() as u32;
        (0..=marks).map(|mark| f64::from(mark) * step).for_each(|at| page.mark(x(at), &format!("{at}")));
        for (number, line) in panel.lines.iter().enumerate() {
            for part in line.split(|(_, value)| !value.is_finite()) {
                let places: Vec<_> = part.iter().map(|(at, value)| (x(*at), page.y(*value))).collect();
                page.path(colour(number), &places);
            }
        }
    }
    page.finish("seconds")
}

/// A chart that grows.
struct Page {
    text: String,
    height: f64,
    /// The edges of the plane that is drawn on.
    plane: [f64; 4],
    /// What its upward axis ends at.
    top: f64,
}

impl Page {
    /// A page with one plane.
    fn new(title: &str, unit: &str, top: f64) -> Self {
        let mut page = Self::sheet(title, HEIGHT);
        page.plane(PLANE, unit, top);
        page
    }

    /// A page without a plane.
    fn sheet(title: &str, height: f64) -> Self {
        let mut page = Self { text: String::new(), height, plane: PLANE, top: 1.0 };
        let _ = writeln!(
            page.text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">"#
        );
        let _ = writeln!(page.text, r#"<rect width="{WIDTH}" height="{height}" fill="white"/>"#);
        page.label((PLANE[0], 22.0), "start", title);
        page
    }

    /// The next plane with its upward axis, on which `top` has room.
    fn plane(&mut self, plane: [f64; 4], unit: &str, top: f64) {
        let step = round_step(top / MARKS);
        (self.plane, self.top) = (plane, (top / step).ceil().max(1.0) * step);
        let [left, above, right, _] = plane;
        self.label((left - 8.0, above - 8.0), "middle", unit);
        let marks = (self.top / step).round() as u32;
        for value in (0..=marks).map(|mark| f64::from(mark) * step) {
            let y = self.y(value);
            let _ = writeln!(self.text, r##"<line x1="{left}" y1="{y:.1}" x2="{right}" y2="{y:.1}" stroke="#ddd"/>"##);
            self.label((left - 8.0, y + 4.0), "end", &format!("{}", (value * 1e6).round() / 1e6));
        }
    }

    fn y(&self, value: f64) -> f64 {
        let [_, above, _, below] = self.plane;
        below - (value / self.top).clamp(0.0, 1.0) * (below - above)
    }

    fn mark(&mut self, x: f64, text: &str) {
        self.label((x, self.plane[3] + 18.0), "middle", text);
    }

    fn legend(&mut self, at: usize, name: &str) {
        let y = PLANE[1] + 20.0 * at as f64;
        self.rect(colour(at), [PLANE[2] + 16.0, y, 12.0, 12.0]);
        self.label((PLANE[2] + 34.0, y + 11.0), "start", name);
    }

    fn label(&mut self, (x, y): (f64, f64), anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(self.text, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
    }

    fn rect(&mut self, colour: &str, [x, y, width, height]: [f64; 4]) {
        let _ = writeln!(
            self.text,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
        );
    }

    /// A line without its points.
    fn path(&mut self, colour: &str, places: &[(f64, f64)]) {
        let path: String = places.iter().map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
        let _ = writeln!(self.text, r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"#);
    }

    fn polyline(&mut self, colour: &str, places: &[(f64, f64)]) {
        self.path(colour, places);
        for (x, y) in places {
            let _ = writeln!(self.text, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
        }
    }

    fn finish(mut self, axis: &str) -> String {
        self.label(((PLANE[0] + PLANE[2]) / 2.0, self.height - 8.0), "middle", axis);
        self.text.push_str("</svg>\n");
        self.text
    }
}

fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

/// The least of 1, 2 and 5 times a power of ten that is not below `raw`.
fn round_step(raw: f64) -> f64 {
    let raw = raw.clamp(1e-4, 1e9);
    let mut power = 1e-4;
    loop {
        if let Some(factor) = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= raw * (1.0 - 1e-9)) {
            return factor * power;
        }
        power *= 10.0;
    }
}

fn log2(value: f64) -> f64 {
    value.max(1.0).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        let steps = [0.0, 0.013, 0.2, 0.21, 3.0, 70.0, 1e12].map(round_step);
        for (step, wanted) in steps.into_iter().zip([1e-4, 0.02, 0.2, 0.5, 5.0, 100.0, 1e9]) {
            assert!((step / wanted - 1.0).abs() < 1e-9, "{step} instead of {wanted}");
        }
    }

    #[test]
    fn every_point_and_every_part_is_on_the_page() {
        let series = |name: &str| Series { name: name.into(), points: vec![(100.0, 3.0), (10_000.0, 4.1)] };
        let chart = lines("a < b", "µs", &[series("one"), series("two")]);
        assert_eq!(chart.matches("<circle").count(), 4);
        assert!(chart.contains("a &lt; b") && chart.contains(">10000<") && chart.ends_with("</svg>\n"));
        let chart = bars("a", "µs", "b", &["1".into(), "2".into()], &[("part".into(), vec![1.0, 2.0])]);
        // The page, two bars, one sign in the legend.
        assert_eq!(chart.matches("<rect").count(), 4);
        let line = vec![(1.0, 3.0), (2.0, f64::NAN), (3.0, 4.0), (1800.0, 5.0)];
        let panel = |name: &str| Panel { name: name.into(), unit: "ms".into(), lines: vec![line.clone(), vec![]] };
        let chart = panels("soak", &["spread".into(), "idle".into()], &[panel("tick"), panel("zone & send")]);
        // Two parts of the first line, the second one empty, on each panel; and nothing that no viewer could place.
        assert_eq!((chart.matches("<polyline").count(), chart.contains("NaN")), (6, false));
        assert!(chart.contains("zone &amp; send") && chart.matches(">1500<").count() == 2);
        assert!(!panels("nothing", &[], &[]).contains("NaN"));
        assert!(!lines("nothing", "", &[]).contains("NaN") && !bars("nothing", "", "", &[], &[]).contains("NaN"));
    }
}
