//! The kubeconfig by which programs of root find the API and are shown Secrets: written here, and read.

use super::TOKEN_PATH;

/// What such a file says.
#[derive(Debug, PartialEq, Eq)]
pub struct Access {
    /// `127.0.0.1:10550`
    pub address: String,
    pub token: String,
}

/// kubectl sends no token over plain HTTP, so the address has it too.
pub fn write(access: &Access) -> String {
    let Access { address, token } = access;
    format!(
        "# Made by edgecore at its start. Who can read this is shown Secrets.\n\
         apiVersion: v1\n\
         kind: Config\n\
         current-context: device\n\
         clusters:\n\
         - name: device\n  cluster:\n{SERVER}{address}/{TOKEN_PATH}/{token}\n\
         contexts:\n\
         - name: device\n  context:\n    cluster: device\n    user: local\n\
         users:\n\
         - name: local\n  user:\n{TOKEN}{token}\n"
    )
}

/// Reads what `write` wrote; none of anything else.
pub fn read(text: &str) -> Option<Access> {
    let line = |start| text.lines().find_map(|line| line.strip_prefix(start));
    let (address, _) = line(SERVER)?.split_once('/')?;
    let token = line(TOKEN)?;
    let is_token = token.len() == TOKEN_DIGITS && token.bytes().all(|it| it.is_ascii_hexdigit());
    let access = Access {
        address: address.to_owned(),
        token: token.to_owned(),
    };
    is_token.then_some(access)
}

const SERVER: &str = "    server: http://";
const TOKEN: &str = "    token: ";
/// Hexadecimal ones, of a token.
pub const TOKEN_DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let access = Access {
            address: "127.0.0.1:10550".to_owned(),
            token: "0a".repeat(32),
        };
        let text = write(&access);
        assert_eq!(read(&text), Some(access));
        assert_eq!(read(&text.replace("0a0a", "0x0a")), None);
        assert_eq!(read(""), None);
    }
}
