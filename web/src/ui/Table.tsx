// A table that becomes a list of cards on a narrow screen; each cell then shows its column's name.
import type { ComponentChildren } from "preact";

export interface Column<Row> {
  name: string;
  /** What the name means, for whoever points at it. */
  title?: string;
  cell: (row: Row) => ComponentChildren;
  /** Numbers stand at the end of their cell. */
  numeric?: boolean;
  /** Shown to screen readers alone, for a column of buttons. */
  hideName?: boolean;
}

interface Props<Row> {
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row) => string | number;
  /** Said instead of an empty table. */
  empty: ComponentChildren;
}

export function Table<Row>({ caption, columns, rows, rowKey, empty }: Props<Row>) {
  if (rows.length === 0) return <div class="empty">{empty}</div>;
  return (
    <table class="table">
      <caption class="visually-hidden">{caption}</caption>
      <thead>
        <tr>
          {columns.map((column) => (
            <th key={column.name} scope="col" title={column.title} class={column.numeric ? "numeric" : undefined}>
              {column.hideName ? <span class="visually-hidden">{column.name}</span> : column.name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={rowKey(row)}>
            {columns.map((column) => (
              <td key={column.name} data-label={column.hideName ? undefined : column.name} class={column.numeric ? "numeric" : undefined}>
                {column.cell(row)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
