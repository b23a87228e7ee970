//! The map's text as words: blanks between them, double quotes around what holds blanks, `#` to the end of the line. Pure.

/// The words of one line. `None`: a quote is not closed.
pub fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut begun, mut quoted) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' => (begun, quoted) = (true, !quoted),
            '#' if !quoted && !begun => break,
            c if c.is_whitespace() && !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            c => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    (!quoted).then_some(words)
}

/// Decimal or 0x hexadecimal; -1 is allowed where a width makes sense of it.
pub fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (digits, radix) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (digits, 10),
    };
    let plain = !digits.is_empty() && digits.len() <= 20 && digits.chars().all(|c| c.is_digit(radix));
    let number = plain.then(|| i128::from_str_radix(digits, radix).ok())??;
    Some(if negative { -number } else { number })
}

/// "500ms", "5s", "2m" in milliseconds.
pub fn period_ms(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let each = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(each)
}

/// The known word that somebody meant: at most one letter in three to add, take out, change, or swap with its neighbour.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let close = known.iter().map(|k| (slips(word.as_bytes(), k.as_bytes()), *k));
    close.filter(|(slips, _)| word.len() > 1 && *slips <= (word.len() / 3).max(1)).min_by_key(|(slips, _)| *slips).map(|(_, k)| k)
}

/// Known words are short, and what is much longer is none of them.
fn slips(a: &[u8], b: &[u8]) -> usize {
    if a.len() > 2 * b.len() + 2 {
        return usize::MAX;
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            let swapped = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
            row.push(changed.min(swapped).min(rows[i - 1][j] + 1).min(row[j - 1] + 1));
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
