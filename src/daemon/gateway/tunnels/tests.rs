use std::path::Path;

use super::*;
use crate::daemon::config::Config;

fn list(names: &[&str]) -> List {
    let text: String = names.iter().map(|name| connection(name, "k")).collect();
    Config::parse(&text, Path::new("gatewayd.toml")).unwrap().connections
}

fn connection(name: &str, key: &str) -> String {
    format!(
        "[[connection]]\nname = \"{name}\"\npeer = \"{name}.example\"\nlocal_id = \"a\"\npsk = \"{key}\"\n\
         local_subnets = \"10.0.0.0/24\"\npeer_subnets = \"10.1.0.0/24\"\n"
    )
}

fn names(tunnels: &[Arc<Tunnel>]) -> Vec<&str> {
    tunnels.iter().map(|tunnel| &**tunnel.name()).collect()
}

fn told_names(tunnels: &[(Owner, Arc<Tunnel>)]) -> Vec<&str> {
    tunnels.iter().map(|(_, tunnel)| &**tunnel.name()).collect()
}

/// Takes whole lists, of cend's what is different to the one before.
fn replace(tunnels: &mut Tunnels, file: List, cend: List) -> Difference {
    let of_cend = tunnels.by_name.values().filter(|known| known.place > CEND);
    let before: Vec<Arc<Tunnel>> = of_cend.map(|known| Arc::clone(&known.tunnel)).collect();
    let after: ByName = cend.iter().map(|tunnel| (Arc::clone(tunnel.name()), Arc::clone(tunnel))).collect();
    let mut changed = differing(&before, &cend);
    changed.new.sort_by_key(|tunnel| Arc::clone(tunnel.name()));
    tunnels.change(&file, &after, &changed)
}

/// The names in the order of their places.
fn order(tunnels: &Tunnels) -> Vec<String> {
    let mut places: Vec<_> =
        tunnels.by_name.values().map(|known| (known.place, known.tunnel.name().to_string())).collect();
    places.sort();
    places.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn the_order_of_the_lists_is_the_order_of_the_places_and_only_what_differs_is_told() {
    let [a, b, c, d, e]: [Arc<Tunnel>; 5] = list(&["a", "b", "c", "d", "e"]).to_vec().try_into().unwrap();
    let of = |list: &[&Arc<Tunnel>]| Arc::new(list.iter().map(|tunnel| Arc::clone(tunnel)).collect::<Vec<_>>());
    let mut tunnels = Tunnels::default();
    let none = List::default();
    let first = replace(&mut tunnels, of(&[&a, &c]), of(&[&e]));
    assert_eq!((told_names(&first.new), first.gone.len(), first.moved.len()), (vec!["a", "c", "e"], 0, 0));
    let between = replace(&mut tunnels, of(&[&a, &b, &c, &d]), of(&[&e]));
    assert_eq!((told_names(&between.new), between.gone.len(), between.moved.len()), (vec!["b", "d"], 0, 0));
    assert_eq!(order(&tunnels), ["a", "b", "c", "d", "e"]);
    let turned = replace(&mut tunnels, of(&[&a, &c, &b, &d]), of(&[&e]));
    assert!(turned.new.is_empty() && turned.gone.is_empty() && turned.moved.len() == 1);
    assert_eq!(order(&tunnels), ["a", "c", "b", "d", "e"]);
    assert!(replace(&mut tunnels, of(&[&a, &c, &b, &d]), of(&[&e])).is_empty());
    // One changes its owner.
    let given = replace(&mut tunnels, of(&[&a, &c, &b]), of(&[&d, &e]));
    assert_eq!((told_names(&given.gone), told_names(&given.new)), (vec!["d"], vec!["d"]));
    assert_eq!(order(&tunnels), ["a", "c", "b", "d", "e"]);
    assert_eq!(tunnels.peer_names().count(), 5);
    let gone = replace(&mut tunnels, of(&[&b]), none);
    assert_eq!((gone.gone.len(), told_names(&gone.new)), (4, vec![]));
    assert_eq!((order(&tunnels), tunnels.peer_names().count()), (vec!["b".to_owned()], 1));
}

#[test]
fn places_do_not_run_out_where_one_is_put_before_another_again_and_again() {
    let all = list(&(0..200).map(|n| format!("c{n}")).collect::<Vec<_>>().iter().map(|s| &**s).collect::<Vec<_>>());
    let mut tunnels = Tunnels::default();
    let mut moved = 0;
    for count in 1..=all.len() {
        let mut front: Vec<Arc<Tunnel>> = all[..count].to_vec();
        front[1..].reverse();
        moved += replace(&mut tunnels, Arc::new(front.clone()), List::default()).moved.len();
        assert_eq!(order(&tunnels), names(&front));
    }
    assert!(moved < 200 * 10, "{moved} of some 20 000");
}

#[test]
fn of_eight_thousand_one_that_differs_is_the_only_one_that_is_told() {
    let text: String = (0..8000).map(|n| connection(&format!("c{n}"), "k")).collect();
    let parse = |text: &str| Config::parse(text, Path::new("gatewayd.toml")).unwrap().connections;
    let mut tunnels = Tunnels::default();
    let before = parse(&text);
    assert_eq!(replace(&mut tunnels, Arc::clone(&before), List::default()).new.len(), 8000);
    let mut after = parse(&text.replace(&connection("c4711", "k"), &connection("c4711", "other")));
    share(Arc::<Vec<_>>::make_mut(&mut after), &before);
    assert_eq!(told(&before, &after), [vec![], vec!["c4711".to_owned()], vec![]]);
    let difference = replace(&mut tunnels, after, List::default());
    assert_eq!((told_names(&difference.gone), told_names(&difference.new)), (vec!["c4711"], vec!["c4711"]));
    assert!(difference.moved.is_empty());
}

#[test]
fn a_reload_tells_what_it_touches() {
    let before = list(&["stays", "changes", "goes"]);
    let text: String = [("new", "k"), ("changes", "2"), ("stays", "k")].iter().map(|(n, k)| connection(n, k)).collect();
    let after = Config::parse(&text, Path::new("gatewayd.toml")).unwrap().connections;
    let [added, changed, removed] = told(&before, &after);
    assert_eq!((added, changed, removed), (vec!["new".into()], vec!["changes".into()], vec!["goes".into()]));
}

#[test]
fn cend_s_connections_stand_in_the_order_of_their_names_whatever_came_first() {
    let sorted: Vec<String> = (100..300).map(|n| format!("c{n}")).collect();
    let all = list(&sorted.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut tunnels, mut moved) = (Tunnels::default(), 0);
    // From both ends towards the middle: the room between neighbours is halved each time.
    let (low, high) = all.split_at(100);
    let mut there = Vec::new();
    for both in low.iter().zip(high.iter().rev()) {
        there.extend([Arc::clone(both.0), Arc::clone(both.1)]);
        moved += replace(&mut tunnels, List::default(), Arc::new(there.clone())).moved.len();
        let mut names = names(&there);
        names.sort_unstable();
        assert_eq!(order(&tunnels), names);
    }
    assert!(moved < 200 * 10, "{moved} of some 20 000");
    // One that is not as it was.
    there[7] = Arc::clone(&list(&[there[7].name()])[0]);
    let difference = replace(&mut tunnels, List::default(), Arc::new(there));
    assert_eq!((difference.gone.len(), difference.new.len(), difference.moved.len()), (1, 1, 0));
    assert_eq!(order(&tunnels), sorted);
}
