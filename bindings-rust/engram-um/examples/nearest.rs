//! The nearest of a thousand random rows to one of them: `cargo run --example nearest`.

use engram_um::{Context, Result, Role, UnifiedBuffer};

fn main() -> Result<()> {
    let rows: Vec<[f32; 768]> = (0..1000).map(|r| std::array::from_fn(|c| ((r * 768 + c) as f32).sin())).collect();
    let ctx = Context::new()?; // the best this machine has
    let targets = UnifiedBuffer::from_slice(&ctx, &rows)?.with_role(Role::Targets);
    let query = UnifiedBuffer::from_slice(&ctx, &rows[42..43])?;
    let mut scores = UnifiedBuffer::<f32>::zeroed(&ctx, rows.len())?;
    ctx.cosine(&query, &targets, &mut scores)?; // allocate / kernel / read: nothing in between
    let best = scores.as_slice()?.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    println!("{best:?}"); // Some((42, 1.0))
    Ok(())
}
