//! Text from outside, in LaTeX.

use std::fmt::Write;

use crate::report::steers;

/// Text that LaTeX prints as it is, in an argument or a table. A letter its standard fonts lack is printed as its
/// number, `U+4E2D`, because an unknown one ends the compilation.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '<' | '>' | '|' => {
                let _ = write!(out, "${c}$");
            }
            '`' => out.push_str("\\`{}"),
            '"' => out.push_str("\\char34{}"),
            // Two would be one: a dash, a quotation mark.
            '-' | '\'' | ',' => {
                out.push(c);
                if letters.peek() == Some(&c) {
                    out.push_str("{}");
                }
            }
            // After the end of a row they would belong to it.
            '[' | ']' | '*' => {
                let _ = write!(out, "{{{c}}}");
            }
            '–' => out.push_str("\\textendash{}"),
            '—' => out.push_str("\\textemdash{}"),
            '‘' => out.push_str("\\textquoteleft{}"),
            '’' => out.push_str("\\textquoteright{}"),
            '“' => out.push_str("\\textquotedblleft{}"),
            '”' => out.push_str("\\textquotedblright{}"),
            '…' => out.push_str("\\ldots{}"),
            '−' => out.push_str("$-$"),
            '±' => out.push_str("$\\pm$"),
            '×' => out.push_str("$\\times$"),
            '†' => out.push_str("$\\dagger$"),
            '°' => out.push_str("$^\\circ$"),
            '·' => out.push_str("$\\cdot$"),
            '↑' => out.push_str("$\\uparrow$"),
            '↓' => out.push_str("$\\downarrow$"),
            '≤' => out.push_str("$\\leq$"),
            '≥' => out.push_str("$\\geq$"),
            'ß' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ÿ' if !"ÐðÞþ".contains(c) => {
                out.push(c)
            }
            ' '..='~' => out.push(c),
            _ if subscript(c).is_some() => {
                out.push_str("$_{");
                out.extend(subscript(c));
                while let Some(next) = letters.next_if(|next| subscript(*next).is_some()) {
                    out.extend(subscript(next));
                }
                out.push_str("}$");
            }
            _ => match greek(c) {
                Some(name) => {
                    let _ = write!(out, "$\\{name}$");
                }
                None if steers(c) || c.is_whitespace() => out.push(' '),
                None => {
                    let _ = write!(out, "U+{:04X}", u32::from(c));
                }
            },
        }
    }
    out
}

/// What a lowered letter is when it is not lowered.
fn subscript(c: char) -> Option<char> {
    Some(match c {
        '₀'..='₉' => char::from(b'0' + (u32::from(c) - u32::from('₀')) as u8),
        'ₜ' => 't',
        '₊' => '+',
        '₋' => '-',
        _ => return None,
    })
}

/// The command for a Greek letter of which LaTeX has one.
fn greek(c: char) -> Option<&'static str> {
    Some(match c {
        'α' => "alpha",
        'β' => "beta",
        'γ' => "gamma",
        'δ' => "delta",
        'ε' | 'ϵ' => "epsilon",
        'η' => "eta",
        'θ' => "theta",
        'λ' => "lambda",
        'μ' | 'µ' => "mu",
        'ρ' => "rho",
        'σ' => "sigma",
        'τ' => "tau",
        'φ' => "phi",
        'χ' => "chi",
        'ω' => "omega",
        'Δ' => "Delta",
        'Σ' => "Sigma",
        'Ω' => "Omega",
        _ => return None,
    })
}
