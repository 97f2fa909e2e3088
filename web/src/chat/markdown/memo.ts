// A component that is drawn again only when one of its properties is another one.
import { Component, h, type ComponentType, type FunctionComponent } from "preact";

export function memo<Props extends object>(component: FunctionComponent<Props>): ComponentType<Props> {
  return class Memo extends Component<Props> {
    override shouldComponentUpdate(next: Props): boolean {
      const before = this.props as Record<string, unknown>;
      const after = next as Record<string, unknown>;
      const names = new Set([...Object.keys(before), ...Object.keys(after)]);
      return [...names].some((name) => before[name] !== after[name]);
    }
    override render(props: Props) {
      return h(component as FunctionComponent<object>, props);
    }
  };
}
