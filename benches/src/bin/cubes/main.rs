//! cubes901
mod run;
mod scene;

use std::path::PathBuf;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let age: usize = args[1].parse().unwrap();
    let loss: f64 = args.get(2).map_or(0.0, |x| x.parse().unwrap());
    let scene = scene::Scene::load(&PathBuf::from(args.get(3).map_or("/tmp/w4/cubes901.bin", |x| x))).unwrap();
    let r = run::run(&scene, age, loss);
    println!("{r:?}");
}
