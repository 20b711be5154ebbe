//! A table of medians on the page.

use maud::{Markup, html};

use crate::grid::Grid;

/// The table below its title.
pub(super) fn table(grid: &Grid) -> Markup {
    html! {
        h3 { (grid.title) }
        div class="scroll" {
            table {
                thead { tr { @for (index, name) in grid.header.iter().enumerate() {
                    th scope="col" class=[(index >= grid.words).then_some("n")] { (name.replace('\n', " ")) }
                } } }
                tbody {
                    @for row in &grid.rows {
                        tr {
                            @for (index, cell) in row.iter().enumerate() {
                                @let (first, rest) = cell.split_once('\n').unwrap_or((cell, ""));
                                @if index == 0 { th scope="row" { (first) } } @else {
                                    td class=[(index >= grid.words).then_some("n")] {
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
