//! The little of SVG that a timeline needs.

use std::fmt::Write as _;

/// A place on the page, in pixels from its top left corner.
pub(super) type Point = (f64, f64);

/// A picture that grows.
pub(super) struct Svg {
    text: String,
}

/// Which end of a text stands at its place.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// A white page of that size, in pixels, whose classes have the given style.
    pub(super) fn new(width: f64, height: f64, style: &str) -> Self {
        let mut text = String::new();
        let _ = writeln!(text, r#"<?xml version="1.0" encoding="UTF-8"?>"#);
        let _ = writeln!(
            text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">"#
        );
        let _ = writeln!(text, "<style>{}</style>", escaped(style));
        let _ = writeln!(text, r#"<rect width="{width}" height="{height}" fill="white"/>"#);
        Self { text }
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): Point, (x2, y2): Point) {
        let _ = writeln!(self.text, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    pub(super) fn rect(&mut self, class: &str, (x, y): Point, (width, height): (f64, f64)) {
        let _ = writeln!(
            self.text,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
        );
    }

    pub(super) fn label(&mut self, class: &str, (x, y): Point, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ =
            writeln!(self.text, r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
    }

    /// One line through all points.
    pub(super) fn polyline(&mut self, class: &str, points: &[Point]) {
        if points.is_empty() {
            return;
        }
        let _ = write!(self.text, r#"<polyline class="{class}" points=""#);
        for (x, y) in points {
            let _ = write!(self.text, "{x:.1},{y:.1} ");
        }
        self.text.push_str("\"/>\n");
    }

    /// Many strokes as one element, each from one point to another.
    pub(super) fn strokes(&mut self, class: &str, strokes: &[(Point, Point)]) {
        if strokes.is_empty() {
            return;
        }
        let _ = write!(self.text, r#"<path class="{class}" d=""#);
        for ((x1, y1), (x2, y2)) in strokes {
            let _ = write!(self.text, "M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}");
        }
        self.text.push_str("\"/>\n");
    }

    /// The whole document.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// Text as XML takes it; control characters, which it takes in no form, become spaces.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_break_out_of_its_element() {
        assert_eq!(escaped("a<b> & \"c\"\u{0}\n"), "a&lt;b&gt; &amp; &quot;c&quot;  ");
    }
}
