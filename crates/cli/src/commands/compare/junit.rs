//! What the conditions say as JUnit's XML, which CI systems read
//! (<https://github.com/testmoapp/junitxml>).

use std::fmt::Write as _;

use super::Judgement;
use super::condition::Finding;

/// A test suite with a test case for each case and condition. One that could not be decided is skipped.
pub(super) fn xml(judged: &[Judgement]) -> String {
    let findings = || judged.iter().flat_map(|judgement| &judgement.findings).map(|(_, finding)| finding);
    let failures = findings().filter(|finding| matches!(finding, Finding::Violated(_))).count();
    let skipped =
        findings().filter(|finding| matches!(finding, Finding::Undecided(_) | Finding::NotMeasured)).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuite name=\"dunlin compare\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">\n",
        findings().count()
    );
    for judgement in judged {
        for (case, finding) in &judgement.findings {
            let name = format!("fail-if {}", judgement.condition.text);
            let _ = write!(xml, "  <testcase classname=\"{}\" name=\"{}\"", escaped(case), escaped(&name));
            xml += &match finding {
                Finding::Holds => "/>\n".to_owned(),
                Finding::Violated(why) => element("failure", why),
                Finding::Undecided(why) => element("skipped", why),
                Finding::NotMeasured => element("skipped", "not measured"),
            };
        }
    }
    xml + "</testsuite>\n"
}

fn element(name: &str, message: &str) -> String {
    format!(">\n    <{name} message=\"{}\"/>\n  </testcase>\n", escaped(message))
}

/// A text as an attribute's value. Characters that XML 1.0 cannot hold (section 2.2) are replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\t' | '\n' | '\r' => {
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_xml_is_escaped() {
        assert_eq!(escaped("a<b> & \"c\"\n\u{1}é"), "a&lt;b&gt; &amp; &quot;c&quot;&#10;\u{fffd}é");
    }
}
