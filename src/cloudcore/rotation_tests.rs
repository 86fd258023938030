//! Tests of steps that are in the store, and that cloudcore can't go by at first.

use smol::future::or;

use super::*;
use crate::authority::rotation::Step;
use crate::cloudcore::outbox::Next;
use crate::cloudcore::testing::Stage;
use crate::pki::chain;
use crate::store::{Claim, Phase, testing};
use crate::system::scratch::Scratch;

/// The step that comes next, or this one.
async fn step(stage: &Stage, step: Option<Step>) -> CaReport {
    let request = Request {
        step: step.map(|step| step.to_string()),
        force: true,
        ..Request::new(CloudOp::CaRotate)
    };
    order(&stage.cloud, &request).await
}

async fn phase(stage: &Stage) -> Option<Phase> {
    let rotation = stage.cloud.authority.store().load_rotation().await;
    rotation.unwrap().map(|rotation| rotation.phase)
}

#[test]
fn one_device_is_not_many() {
    let report = |step: &str, count| CaReport {
        step: Some(step.to_owned()),
        phase: Some("prepared".to_owned()),
        next: Some("b".to_owned()),
        ca: "a".to_owned(),
        nodes: count,
        behind_count: count,
        ..CaReport::default()
    };
    let text = said(&report("switch", 1), false);
    assert!(text.contains("; 1 device to get one,"), "{text}");
    assert!(text.contains("followed: 0 of 1 device."), "{text}");
    let text = said(&report("finish", 1), true);
    assert!(text.contains("that cuts off 1 device."), "{text}");
    let text = said(&report("finish", 2), true);
    assert!(text.contains("that cuts off 2 devices."), "{text}");
}

/// What a failed order says: that this step is done and to be said again.
fn is_half(report: &CaReport, step: &str) {
    let said = report.error.as_deref().unwrap_or_default();
    let wanted = [
        format!("{step} is done, but"),
        format!("rotate {step}` again"),
    ];
    assert!(wanted.iter().all(|it| said.contains(it)), "{said}");
    assert_eq!(report.exit_code, Some(exit::TRY_AGAIN));
}

async fn late<T>(what: &str) -> T {
    Timer::after(Duration::from_secs(60)).await;
    panic!("{what}");
}

#[test]
fn a_step_that_is_said_again_is_not_the_next_one_and_is_told() {
    let folder = Scratch::new();
    let stage = Stage::open(&folder, "serving");
    smol::block_on(stage.runner.run(async {
        assert_eq!(step(&stage, None).await.error, None);
        let peer = stage.connect("edge-1");
        stage.fill_disk(true);
        for _ in 0..2 {
            is_half(&step(&stage, None).await, "switch");
            assert_eq!(phase(&stage).await, Some(Phase::Switched));
        }
        stage.fill_disk(false);
        let report = step(&stage, None).await;
        assert_eq!(
            (report.step.as_deref(), report.done),
            (Some("switch"), true)
        );
        assert_eq!(phase(&stage).await, Some(Phase::Switched));
        let next = stage.cloud.authority.standing().next().cloned().unwrap();
        let serving = stage.cloud.authority.serving_certificate();
        assert!(chain::verify_server(&serving, &[next], stage.cloud.clock.now()).is_ok());
        // It is told of each step that was brought to its end.
        let told = cas(&stage.cloud).to_string();
        let is_told = async {
            loop {
                match peer.outbox.next().await.unwrap() {
                    Next::Message(it) if it.route.operation != CHANGE => {}
                    Next::Message(it) if it.text().as_deref() == Some(&told) => return,
                    _ => {}
                }
            }
        };
        or(is_told, late("it is not told")).await;
    }));
}

#[test]
fn who_has_not_followed_is_cut_off_when_a_finish_comes_to_its_end() {
    let folder = Scratch::new();
    let stage = Stage::open(&folder, "serving");
    smol::block_on(stage.runner.run(async {
        for _ in ["prepare", "switch", "announce"] {
            assert_eq!(step(&stage, None).await.error, None);
        }
        let (edge, authority) = (testing::name("edge-1"), &stage.cloud.authority);
        let recorded = authority
            .store()
            .record_node(&edge, testing::record("1"), Claim::Any);
        recorded.await.unwrap();
        let peer = stage.connect("edge-1");
        stage.fill_disk(true);
        // So that there is a serving certificate to be made.
        assert!(
            authority
                .add_names(&["later.example".to_owned()])
                .await
                .is_err()
        );
        is_half(&step(&stage, None).await, "finish");
        assert_eq!(phase(&stage).await, None);
        stage.fill_disk(false);
        let report = step(&stage, Some(Step::Finish)).await;
        assert_eq!(
            (report.error, report.done, report.already),
            (None, true, false)
        );
        let ended = async {
            loop {
                if let Err(ending) = peer.outbox.next().await {
                    return ending;
                }
            }
        };
        let ended = or(ended, late("its session goes on")).await;
        assert!(matches!(ended, Ending::CaRetired));
    }));
}
