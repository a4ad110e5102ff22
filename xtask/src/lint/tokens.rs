//! Rust's own tokens with their lines: what is in comments and strings is not code.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A token as far as the rules look at it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// Counted from 1.
    pub(super) line: usize,
    /// An identifier or keyword, a punctuation character, or the opening bracket of a group; empty for a literal.
    pub(super) text: String,
}

/// The tokens of a source file in their order, groups flattened. None when it is not Rust.
pub(super) fn tokens(source: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    flatten(TokenStream::from_str(source).ok()?, &mut tokens);
    Some(tokens)
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        let text = match &tree {
            TokenTree::Ident(ident) => ident.to_string(),
            TokenTree::Punct(punct) => punct.to_string(),
            TokenTree::Literal(_) => String::new(),
            TokenTree::Group(group) => opening(group.delimiter()).to_owned(),
        };
        tokens.push(Token { line, text });
        if let TokenTree::Group(group) = tree {
            flatten(group.stream(), tokens);
        }
    }
}

const fn opening(delimiter: Delimiter) -> &'static str {
    match delimiter {
        Delimiter::Parenthesis => "(",
        Delimiter::Brace => "{",
        Delimiter::Bracket => "[",
        Delimiter::None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        let tokens = tokens("// unsafe\nlet x = \"unsafe\"; /* unsafe */ r#\"unsafe\"#; 'u'").unwrap();
        assert!(tokens.iter().all(|token| token.text != "unsafe"));
    }

    #[test]
    fn lines_are_those_of_the_source() {
        let tokens = tokens("fn f() {\n    unsafe { g() }\n}").unwrap();
        let found = tokens.iter().find(|token| token.text == "unsafe").unwrap();
        assert_eq!(found.line, 2);
    }

    #[test]
    fn what_does_not_lex_is_told() {
        assert_eq!(tokens("fn f( {"), None);
    }
}
