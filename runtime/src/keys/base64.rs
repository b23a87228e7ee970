//! Base64 as RFC 4648 writes it, one text for each value: what is not padded right, or carries bits beyond its bytes, is refused. Pure.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PAD: u8 = b'=';

pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0_u32, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for n in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * n)) as usize & 63];
            out.push(char::from(if n <= three.len() { letter } else { PAD }));
        }
    }
    out
}

pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    let padding = text.iter().rev().take_while(|b| **b == PAD).count();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for four in text[..text.len() - padding].chunks(4) {
        let mut word = 0_u32;
        for letter in four {
            word = word << 6 | u32::try_from(LETTERS.iter().position(|l| l == letter)?).ok()?;
        }
        word <<= 6 * (4 - four.len());
        let [_, three @ ..] = word.to_be_bytes();
        let (bytes, beyond) = three.split_at(four.len() - 1);
        if beyond.iter().any(|b| *b != 0) {
            return None;
        }
        out.extend_from_slice(bytes);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_and_nothing_that_means_the_same() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        for odd in ["Zg", "Zg=", "Zh==", "Zm9=", "Zm9v\n", "Zm9 ", "====", "Z===", "Zm-_"] {
            assert_eq!(decode(odd), None, "{odd}");
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
    }
}
