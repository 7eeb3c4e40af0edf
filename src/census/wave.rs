//! What a wave is called.

/// The number of a wave: `2`, or in words as sheets have them: `第二批`, `二`, `第2批次`, `wave 2`.
///
/// # Errors
/// When the text names no wave.
pub fn wave_number(text: &str) -> Result<u16, String> {
    let fault = || format!("`{text}` is no wave: write a number from 0 to 999, as `wave` in the site files");
    let word: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let word = word.to_lowercase();
    let word = word.strip_prefix("wave").or_else(|| word.strip_prefix('第')).unwrap_or(&word);
    let word = ["批次", "批", "波次", "波", "期", "轮"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
    let number = match word.parse::<u16>() {
        Ok(number) => number,
        Err(_) => chinese(word).ok_or_else(fault)?,
    };
    if number <= 999 && !word.starts_with('+') { Ok(number) } else { Err(fault()) }
}

/// A Chinese numeral below a hundred.
fn chinese(word: &str) -> Option<u16> {
    let digit = |c: char| "零一二三四五六七八九".chars().position(|known| known == c).map(|digit| digit as u16);
    let chars: Vec<char> = word.chars().map(|c| if c == '两' { '二' } else { c }).collect();
    match *chars.as_slice() {
        ['十'] => Some(10),
        ['十', one] => Some(10 + digit(one)?),
        [ten, '十'] => Some(10 * digit(ten)?),
        [ten, '十', one] => Some(10 * digit(ten)? + digit(one)?),
        [one] => digit(one),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_have_names() {
        for (text, number) in [
            ("2", 2),
            ("第二批", 2),
            ("第 3 批次", 3),
            ("十", 10),
            ("第十二批", 12),
            ("二十一", 21),
            ("wave 7", 7),
            ("一", 1),
            ("0", 0),
        ] {
            assert_eq!(wave_number(text), Ok(number), "{text}");
        }
        for bad in ["", "第批", "later", "1000", "-1", "+1", "2.5", "百"] {
            assert!(wave_number(bad).is_err(), "{bad}");
        }
    }
}
