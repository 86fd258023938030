//! Tests of reading tar: heads made here, and archives that Python's tarfile made.

use super::*;

fn block(name: &str, kind: u8, content: &[u8], link: &str) -> Vec<u8> {
    let mut head = vec![0; BLOCK];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    head[156] = kind;
    head[157..157 + link.len()].copy_from_slice(link.as_bytes());
    head[257..263].copy_from_slice(b"ustar\0");
    sign(&mut head);
    head.extend_from_slice(content);
    head.resize(head.len().next_multiple_of(BLOCK), 0);
    head
}

fn sign(head: &mut [u8]) {
    head[148..156].fill(b' ');
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn all(bytes: &[u8]) -> Result<Vec<(String, Kind, Vec<u8>)>, UnpackError> {
    let mut archive = Archive::new(bytes);
    let mut found = Vec::new();
    let known = |error: io::Error| UnpackError::of(&error).expect("an error of ours");
    while let Some(entry) = archive.entry().map_err(known)? {
        let mut content = Vec::new();
        let mut chunk = [0; 100];
        loop {
            match archive.read(&mut chunk).map_err(known)? {
                0 => break,
                count => content.extend_from_slice(&chunk[..count]),
            }
        }
        assert_eq!(content.len() as u64, entry.size);
        found.push((entry.path.join("/") + &entry.link, entry.kind, content));
    }
    Ok(found)
}

#[test]
fn entries_are_read() {
    let pax = "27 path=a/very/long/name!\n30 linkpath=another/long/name\n14 unknown=x\n";
    let records: Vec<&str> = pax.split_inclusive('\n').collect();
    let pax: String = records
        .iter()
        .map(|record| {
            let body = record.split_once(' ').unwrap().1;
            format!("{} {body}", body.len() + 3)
        })
        .collect();
    let bytes = [
        block("./", b'5', b"", ""),
        block("./bin/", b'5', b"", ""),
        block("./bin/a", b'0', &[7; 700], ""),
        block("/bin/b", b'1', b"", "bin/a"),
        block("bin/c", b'2', b"", "/bin/a"),
        block("dev/null", b'3', b"", ""),
        block("x", b'x', pax.as_bytes(), ""),
        block("short", b'2', b"", "short"),
        block("././@LongLink", b'L', b"gnu/long\0", ""),
        block("short", b'0', b"1", ""),
        vec![0; 1024],
        b"what stands behind the end is nothing".to_vec(),
    ]
    .concat();
    let found = all(&bytes).unwrap();
    let names: Vec<&str> = found.iter().map(|it| it.0.as_str()).collect();
    let expected = [
        "",
        "bin",
        "bin/a",
        "bin/bbin/a",
        "bin/c/bin/a",
        "dev/null",
        "a/very/long/name!another/long/name",
        "gnu/long",
    ];
    assert_eq!(names, expected);
    assert_eq!(found[2].2, [7; 700]);
    let kinds: Vec<Kind> = found.iter().map(|it| it.1).collect();
    use Kind::*;
    assert_eq!(
        kinds,
        [
            Directory, Directory, File, HardLink, SymLink, Other, SymLink, File
        ]
    );
}

#[test]
fn what_leads_out_is_refused() {
    for name in ["../a", "a/../../b", "..", "/../x", "a/.."] {
        let found = all(&block(name, b'0', b"", ""));
        assert_eq!(
            found,
            Err(UnpackError::Tar(TarError::Outside(name.to_owned())))
        );
    }
}

#[test]
fn damage_is_noticed() {
    let bytes = block("a", b'0', b"content", "");
    assert!(all(&bytes).is_ok());
    for end in [1, 511, 513, 600, 1023] {
        assert_eq!(
            all(&bytes[..end]),
            Err(UnpackError::Tar(TarError::Cut)),
            "{end}"
        );
    }
    let mut changed = bytes.clone();
    changed[3] ^= 1;
    assert_eq!(all(&changed), Err(UnpackError::Tar(TarError::Head)));
    let mut large = bytes.clone();
    large[124..136].copy_from_slice(&[
        0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ]);
    sign(&mut large[..BLOCK]);
    assert_eq!(all(&large), Err(UnpackError::Tar(TarError::Head)));
    for records in ["", "5", "99 a=b\n", "6 a=b", "0 a=b\n", "x a=b\n", "5 ab\n"] {
        let mut extra = block("x", b'x', records.as_bytes(), "");
        extra.extend(&bytes);
        let found = all(&extra);
        assert_eq!(found.is_ok(), records.is_empty(), "{records:?}");
    }
}

#[test]
fn heads_without_an_entry_have_an_end() {
    let bytes = block("x", b'g', b"", "").repeat(100);
    assert_eq!(all(&bytes), Err(UnpackError::Tar(TarError::Head)));
}
