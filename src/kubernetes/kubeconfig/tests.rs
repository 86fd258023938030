//! Kubeconfig files as people have them, and what is said of bad ones.

use std::collections::HashMap;

use super::*;
use crate::system::clock::Clock;
use crate::system::files::Files as Disk;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

const WHOLE: &str = r#"
apiVersion: v1
kind: Config
current-context: one
preferences: {}
clusters:
- name: c1
  cluster:
    server: https://k.example:6443/prefix/
    certificate-authority: pki/ca.crt
    proxy-url: http://user:secret@proxy.example:3128
    tls-server-name: kubernetes
    extensions:
    - name: client.authentication.k8s.io/exec
      extension: {audience: x}
- name: c2
  cluster: {server: "https://[2001:db8::1]:6443", certificate-authority-data: "Y2E="}
users:
- name: u1
  user:
    client-certificate-data: Y2VydA==
    client-key: ../key.pem
    as: somebody
    as-groups: [a, b]
- name: u2
  user: {token: geheim, exec: {apiVersion: x}}
- name: u3
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: ./plugin
      args: [get, token]
      env: [{name: A, value: geheim}]
      interactiveMode: IfAvailable
      provideClusterInfo: true
      installHint: get it
- name: u4
  user: {username: me, password: geheim}
contexts:
- name: one
  context: {cluster: c1, user: u1, namespace: n}
- name: two
  context: {cluster: c2, user: u2}
- name: three
  context: {cluster: c1, user: u3}
- name: four
  context: {cluster: c2, user: u4}
- name: nobody
  context: {cluster: c2}
"#;

fn read(text: &str, context: Option<&str>) -> Result<Access, ConfigError> {
    let mut files = Kubeconfig::default();
    files.add(Path::new("/home/me/.kube/config"), text.as_bytes())?;
    files.access(context)
}

#[test]
fn all_that_is_understood() {
    let access = read(WHOLE, None).unwrap();
    assert_eq!(access.server.to_string(), "https://k.example:6443/prefix");
    let file = |path: &str| Material::File(path.into());
    assert_eq!(access.authorities, Some(file("/home/me/.kube/pki/ca.crt")));
    let certificate = Material::Inline(crate::system::secret::Secret::new(b"cert".to_vec()));
    let key = file("/home/me/.kube/../key.pem");
    assert_eq!(access.certificate, Some((certificate, key)));
    assert_eq!(access.certified_host().to_string(), "kubernetes");
    assert_eq!(access.namespace.as_deref(), Some("n"));
    assert_eq!(
        access.proxy.as_ref().unwrap().url(),
        "http://proxy.example:3128"
    );
    let other = access.impersonation.as_ref().unwrap();
    assert_eq!((&*other.user, other.groups.len()), ("somebody", 2));
    assert!(matches!(access.login, Login::Nothing));
    // A token weighs more than a plugin, which is not even looked at.
    let two = read(WHOLE, Some("two")).unwrap();
    assert!(matches!(&two.login, Login::Token(token) if **token == "geheim"));
    let three = read(WHOLE, Some("three")).unwrap();
    let Login::Program(program) = &three.login else {
        panic!("{:?}", three.login);
    };
    assert_eq!(program.command, Path::new("/home/me/.kube/./plugin"));
    assert_eq!(program.arguments, ["get", "token"]);
    assert!(program.tell_cluster && program.cluster_config.is_some());
    let four = read(WHOLE, Some("four")).unwrap();
    assert!(matches!(&four.login, Login::Basic(both) if **both == "me:geheim"));
    assert_eq!(four.source, "context \"four\" of /home/me/.kube/config");
    assert!(matches!(
        read(WHOLE, Some("nobody")).unwrap().login,
        Login::Nothing
    ));
    // Shown, it shows no secret.
    for access in [access, two, three, four] {
        let shown = format!("{access:?}");
        assert!(
            !shown.contains("geheim") && !shown.contains("secret@"),
            "{shown}"
        );
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let user = |user: &str| {
        format!(
            "current-context: a\ncontexts:\n- {{name: a, context: {{cluster: c, user: u}}}}\n\
             clusters:\n- {{name: c, cluster: {{server: 'https://k:1'}}}}\nusers:\n- name: u\n  \
             user:\n    {user}\n"
        )
    };
    let cluster = |cluster: &str| {
        format!(
            "current-context: a\ncontexts:\n- {{name: a, context: {{cluster: c}}}}\nclusters:\n\
             - name: c\n  cluster:\n    server: https://k:1\n    {cluster}\n"
        )
    };
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: x";
    for (text, parts) in [
        (
            "kind: Pod\n".to_owned(),
            ["/home/me/.kube/config:1: ", "this is no kubeconfig"],
        ),
        ("- a\n".to_owned(), ["", "this is no kubeconfig"]),
        ("a: [\n".to_owned(), ["/home/me/.kube/config:2: ", ""]),
        (
            "current-context: x\ncontexts: [{name: y}]".to_owned(),
            ["no \"x\" in the contexts of", "choose one of \"y\""],
        ),
        (
            "contexts: [{name: y}]".to_owned(),
            ["has no current-context", "one of \"y\" with --context"],
        ),
        (
            user("").replace("cluster: c,", "cluster: d,"),
            ["no \"d\" in the clusters", "choose one of \"c\""],
        ),
        (
            user("").replace("https", "http"),
            ["config:5: ", "plain HTTP"],
        ),
        (
            cluster("insecure-skip-tls-verify: true"),
            [
                "config:8: insecure-skip-tls-verify",
                "give the cluster's CA",
            ],
        ),
        (
            cluster("certificate-authority-data: '*'"),
            ["config:8: ", "is not base64"],
        ),
        (
            cluster("proxy-url: socks5://p:1"),
            ["config:8: ", "http://HOST:PORT"],
        ),
        (cluster("tls-server-name: a b"), ["config:8: ", "' '"]),
        (user("token: 5"), ["config:9: token", "is not a text"]),
        (
            user("auth-provider: {name: gcp}"),
            ["config:9: auth-provider", "exec"],
        ),
        (user("client-key: x"), ["config:9: ", "give both"]),
        (user("as-uid: x"), ["config:9: as-uid", "leave it out"]),
        (user("as-groups: [x]"), ["config:9: ", "give `as` too"]),
        (
            user("exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}"),
            ["config:9: ", "v1 or client.authentication.k8s.io/v1beta1"],
        ),
        (
            user(&format!("{exec}, interactiveMode: Always}}")),
            ["config:9: interactiveMode Always", "log in with it first"],
        ),
        (
            user(&format!("{exec}, args: [1]}}")),
            ["config:9: args", "list of texts"],
        ),
        (
            user(&format!("{exec}, env: [{{name: a=b}}]}}")),
            ["config:9: ", "no name of a variable"],
        ),
    ] {
        let error = read(&text, None).expect_err(&text).to_string();
        for part in parts {
            assert!(error.contains(part), "{text}\n{error}");
        }
    }
}

/// A machine with files, and an environment.
struct Machine {
    folder: Scratch,
    variables: HashMap<&'static str, String>,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Machine {
        let folder = Scratch::new();
        for (name, text) in files {
            let path = folder.path().join(name);
            let disk = Disk::real();
            disk.make_dir(path.parent().unwrap(), 0o755).unwrap();
            disk.replace(&path, text.as_bytes(), 0o600).unwrap();
        }
        Machine {
            folder,
            variables: HashMap::new(),
        }
    }

    fn with(mut self, variable: &'static str, value: &str) -> Machine {
        let here = self.folder.path().to_str().unwrap();
        self.variables.insert(variable, value.replace('@', here));
        self
    }

    fn find(&self, choice: &Choice) -> Result<Access, ConfigError> {
        let host = Host {
            root: Root::new(Some(self.folder.path().to_owned())),
            files: Disk::real(),
            clock: Clock::system(),
        };
        find(choice, &host, &|name| self.variables.get(name).cloned())
    }
}

fn config(server: &str) -> String {
    format!(
        "current-context: a\ncontexts: [{{name: a, context: {{cluster: c}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'https://{server}'}}}}]\n"
    )
}

const TOKEN: &str = "var/run/secrets/kubernetes.io/serviceaccount/token";
const NAMESPACE: &str = "var/run/secrets/kubernetes.io/serviceaccount/namespace";

#[test]
fn the_first_place_that_has_one_counts() {
    let files = [
        ("given", &*config("given")),
        ("listed", &*config("listed")),
        ("root/.kube/config", &*config("roots")),
        ("home/me/.kube/config", &*config("home")),
        (TOKEN, "t"),
        (NAMESPACE, "kubeedge\n"),
    ];
    let machine = Machine::new(&files)
        .with("KUBECONFIG", "@/none:@/listed")
        .with("KUBERNETES_SERVICE_HOST", "fd00::1")
        .with("KUBERNETES_SERVICE_PORT", "6443")
        .with("HOME", "/home/me");
    let given = Choice {
        kube_config: Some(machine.folder.path().join("given")),
        context: None,
    };
    let server = |machine: &Machine, choice: &Choice| {
        let access = machine.find(choice).unwrap();
        access.server.endpoint.to_string()
    };
    assert_eq!(server(&machine, &given), "given:443");
    let any = Choice::default();
    assert_eq!(server(&machine, &any), "listed:443");
    let machine = machine.with("KUBECONFIG", "");
    assert_eq!(server(&machine, &any), "[fd00::1]:6443");
    let pod = machine.find(&any).unwrap();
    assert_eq!(pod.namespace.as_deref(), Some("kubeedge"));
    assert!(matches!(pod.login, Login::TokenFile(_)));
    // Whoever names a context means a file.
    let context = Choice {
        kube_config: None,
        context: Some("a".to_owned()),
    };
    assert_eq!(server(&machine, &context), "home:443");
    let machine = machine.with("KUBERNETES_SERVICE_HOST", "");
    assert_eq!(server(&machine, &any), "home:443");
    let machine = machine.with("HOME", "/home/other");
    assert_eq!(server(&machine, &any), "roots:443");

    let empty = Machine::new(&[]).with("HOME", "/home/me");
    let error = empty.find(&any).unwrap_err().to_string();
    assert!(error.contains("home/me/.kube/config and "), "{error}");
    assert!(error.ends_with("name one with --kube-config"), "{error}");
    let missing = Choice {
        kube_config: Some(empty.folder.path().join("given")),
        context: None,
    };
    let error = empty.find(&missing).unwrap_err().to_string();
    assert!(error.contains("cannot read"), "{error}");
    let listed = empty.with("KUBECONFIG", "@/none:@/nor");
    assert!(matches!(
        listed.find(&any),
        Err(ConfigError::Nowhere { .. })
    ));
}

#[test]
fn files_of_a_list_are_one_and_the_first_wins() {
    let one = "current-context: b\nclusters: [{name: c, cluster: {server: 'https://one'}}]\n";
    let two = "current-context: a\ncontexts: [{name: a, context: {cluster: c}}, {name: b, context: \
               {cluster: d, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://two'}}, {name: \
               d, cluster: {server: 'https://d', certificate-authority: ca}}]\nusers: [{name: u, user: \
               {token: t}}]\n";
    let machine = Machine::new(&[("1/config", one), ("2/config", two)])
        .with("KUBECONFIG", "@/1/config:@/2/config");
    let access = machine.find(&Choice::default()).unwrap();
    assert_eq!(access.server.to_string(), "https://d:443");
    // From the folder of the file that names it.
    let ca = machine.folder.path().join("2/ca");
    assert_eq!(access.authorities, Some(Material::File(ca)));
    let named = Choice {
        kube_config: None,
        context: Some("a".to_owned()),
    };
    let access = machine.find(&named).unwrap();
    assert_eq!(access.server.to_string(), "https://one:443");
}

#[test]
fn a_pod_and_a_proxy_must_be_told_rightly() {
    let machine = Machine::new(&[(TOKEN, "t")]).with("KUBERNETES_SERVICE_HOST", "a b");
    let error = machine.find(&Choice::default()).unwrap_err().to_string();
    assert!(
        error.contains("KUBERNETES_SERVICE_HOST is \"a b\""),
        "{error}"
    );
    let machine = machine
        .with("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        .with("HTTPS_PROXY", "http://p:1")
        .with("NO_PROXY", "10.0.0.0/8");
    let access = machine.find(&Choice::default()).unwrap();
    assert_eq!(access.server.to_string(), "https://10.0.0.1:443");
    assert!(access.proxy.unwrap().bypass.spares(&access.server.endpoint));
    let machine = machine.with("HTTPS_PROXY", "ftp://p");
    let error = machine.find(&Choice::default()).unwrap_err().to_string();
    assert!(error.starts_with("HTTPS_PROXY: "), "{error}");
}
