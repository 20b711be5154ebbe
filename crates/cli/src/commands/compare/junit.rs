//! What the conditions say as JUnit's XML, which CI systems read
//! (<https://github.com/testmoapp/junitxml>).

use std::fmt::Write as _;

use super::condition::{Finding, Judgement};

/// A test suite with a test case for each case and condition. One that could not be decided, or of which a side tells
/// nothing, is skipped; one that only seems to be violated fails like others, and says so by its type.
pub(super) fn xml(judged: &[Judgement]) -> String {
    let findings = || judged.iter().flat_map(|judgement| &judgement.findings).map(|(_, finding)| finding);
    let failures =
        findings().filter(|finding| matches!(finding, Finding::Violated(_) | Finding::Suspected(_))).count();
    let skipped = findings().count()
        - failures
        - findings().filter(|finding| matches!(finding, Finding::Holds | Finding::SeemsToHold)).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuite name=\"dunlin compare\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">\n",
        findings().count()
    );
    for judgement in judged {
        for (case, finding) in &judgement.findings {
            let name = format!("fail-if {}", judgement.condition.text);
            let _ = write!(xml, "  <testcase classname=\"{}\" name=\"{}\"", escaped(case), escaped(&name));
            let (kind, why) = finding.parts();
            xml += &match finding {
                Finding::Holds | Finding::SeemsToHold => "/>\n".to_owned(),
                Finding::Violated(_) | Finding::Suspected(_) => element("failure", kind, why),
                Finding::Undecided(_) | Finding::NotMeasured | Finding::Lacking(_) => {
                    element("skipped", kind, why)
                }
            };
        }
    }
    xml + "</testsuite>\n"
}

fn element(name: &str, kind: &str, why: Option<&str>) -> String {
    let message = why.map_or_else(|| "not measured".to_owned(), |why| format!("{kind}: {why}"));
    format!(">\n    <{name} type=\"{kind}\" message=\"{}\"/>\n  </testcase>\n", escaped(&message))
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
