//! TCP beside the migrations.

use maud::{Markup, html};

use crate::cases::CaseRow;
use crate::performance::{BUFFERS, Grid, grids};

/// The section; nothing where no TCP probe ran.
pub(super) fn performance(rows: &[CaseRow]) -> Markup {
    let grids = grids(rows);
    html! {
        @if !grids.is_empty() {
            section {
                h2 { "TCP beside the migration" }
                p class="note" {
                    "What the service network (bench and guest) and the migration network (source and destination) carried for \
                     others, before the migrate command, during the migration and after it. Medians over the completed trials, \
                     below them the least and the greatest. " (BUFFERS)
                }
                @for grid in &grids { (table(grid)) }
            }
        }
    }
}

fn table(grid: &Grid) -> Markup {
    html! {
        h3 { (grid.title) }
        div class="scroll" {
            table {
                thead { tr { @for (index, name) in grid.header.iter().enumerate() {
                    th scope="col" class=[(index >= 2).then_some("n")] { (name.replace('\n', " ")) }
                } } }
                tbody {
                    @for row in &grid.rows {
                        tr {
                            @for (index, cell) in row.iter().enumerate() {
                                @let (first, rest) = cell.split_once('\n').unwrap_or((cell, ""));
                                @if index == 0 { th scope="row" { (first) } } @else {
                                    td class=[(index >= 2).then_some("n")] {
                                        (first)
                                        @if !rest.is_empty() { small { (rest) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
